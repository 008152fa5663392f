//! Obtains and builds the guest kernels and the initramfs, into a content-addressed cache
