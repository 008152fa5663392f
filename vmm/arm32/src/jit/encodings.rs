//! Operations of a host, by what stands for them in encodings.

/// Declares operations by numbers of type `$repr` in encodings, each with its mnemonic.
macro_rules! encodings {
    ($(#[$meta:meta])* $name:ident: $repr:ident {
        $($(#[$doc:meta])* $variant:ident = $code:literal $text:literal),+ $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr($repr)]
        pub enum $name { $($(#[$doc])* $variant = $code),+ }

        #[cfg(test)]
        impl $name {
            /// All of them, and their mnemonics.
            pub const ALL: &[(Self, &str)] = &[$((Self::$variant, $text)),+];
        }
    };
}
pub(super) use encodings;
