//! A debugger of shell commands, which are all that the outer machine has.

/// A guest that it looks into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guest {
    /// Its image.
    pub image: &'static str,
    /// What its processor is called in the description of its registers.
    architecture: &'static str,
    /// The address of the kernel's first instruction.
    entry: u64,
    /// Bytes of a register.
    width: usize,
    /// The number of the program counter, in the protocol.
    pc: usize,
    /// A breakpoint instruction that is neither Linux's nor ours, and what the kernel calls the
    /// exception.
    own: u32,
    exception: &'static str,
}

/// One of 32 bits.
pub const NARROW: Guest = Guest {
    image: "ipmmu",
    architecture: "arm",
    entry: 0x4000_8000,
    width: 4,
    pc: 15,
    // BKPT #0x1234
    own: 0xe121_2374,
    exception: "prefetch abort: debug event",
};

/// One of 64 bits.
pub const AARCH64: Guest = Guest {
    image: "debian-arm64-6.12",
    architecture: "aarch64",
    entry: 0x4000_0000,
    width: 8,
    pc: 32,
    // BRK #0x123
    own: 0xd420_2460,
    exception: "Oops - BRK: 00000000f2000123",
};

/// What the debugger finds, in its words.
pub const FOUND: [&str; 9] = [
    "it is described",
    "it stands at the kernel's first instruction",
    "a breakpoint there is met",
    "a step leads on",
    "a register is written",
    "it is interrupted",
    "a breakpoint is met twice",
    "memory is the guest's own",
    "so is a breakpoint in it",
];

/// What it is made of. `say` sends a packet and waits for an answer with some words, `heard` is the
/// answer without what repetitions are packed into, `meet` says what was found.
const TOOLS: &str = r#"
await() { n=0; until tail -c +$at /out | grep -q "$1"; do sleep 0.2; n=$((n+1)); [ $n -gt 300 ] && break; done; }
sum() {
  t=$1; s=0
  while [ -n "$t" ]; do r=${t#?}; s=$((s + $(printf %d "'${t%"$r"}"))); t=$r; done
  printf %02x $((s & 255))
}
send() { at=$(($(wc -c </out) + 1)); printf '$%s#%s' "$1" "$(sum "$1")" >&3; }
say() { send "$1"; await "$2"; }
heard() {
  t=$(tail -c +$at /out | sed -n 's/^[^$]*\$\([^#]*\)#.*/\1/p'); o=
  while [ -n "$t" ]; do
    r=${t#?}; c=${t%"$r"}; t=$r
    if [ "$c" = '*' ]; then
      r=${t#?}; n=$(($(printf %d "'${t%"$r"}") - 29)); t=$r
      while [ $n -gt 0 ]; do o=$o$l; n=$((n-1)); done
    else
      o=$o$c; l=$c
    fi
  done
  echo "$o"
}
turned() { t=$1; o=; while [ -n "$t" ]; do r=${t#??}; o=${t%"$r"}$o; t=$r; done; echo "$o"; }
meet() { if [ "$1" = "$2" ]; then echo "found: $3"; else echo "missed: $3: $1, not $2"; fi; }
met() { if tail -c +$at /out | grep -q "$1"; then echo "found: $2"; else echo "missed: $2"; fi; }
"#;

impl Guest {
    /// Returns a value of a register as the protocol sends it.
    fn sent(self, value: u64) -> String {
        let bytes = value.to_le_bytes();
        bytes[..self.width]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// Returns the script of what the outer machine does; it leaves the exit code in `status`.
    pub fn script(self) -> String {
        let Self {
            image,
            architecture,
            entry,
            pc,
            own,
            exception,
            ..
        } = self;
        // Memory is sent byte by byte, and instructions are little-endian.
        let own = format!("{:08x}", own.swap_bytes());
        let value = self.sent(0x0102_0304_0506_0708);
        let start = self.sent(entry);
        let [
            described,
            first,
            there,
            step,
            register,
            interrupted,
            twice,
            memory,
            its_own,
        ] = FOUND;
        format!(
            "{TOOLS}
ifconfig lo 127.0.0.1 up; rm -f /in /out /console; mkfifo /in
vmm boot --accel kvm --cpus 2 --memory 256M --wall-timeout 300 --kernel /guests/{image}/kernel \
  --initrd /guests/{image}/initrd --console /console --cmdline 'quiet panic=0' --run 'sleep 1000' --gdb 1234 &
vmm=$!
until nc 127.0.0.1 1234 </in >/out & exec 3>/in; sleep 2; kill -0 $!; do sleep 1; done
say QStartNoAckMode OK
say 'qSupported:swbreak+;hwbreak+;vContSupported+;xmlRegisters={architecture}' PacketSize
say qXfer:features:read:target.xml:0,100 'architecture>{architecture}'; met 'architecture>{architecture}' '{described}'
say Hg1 OK
say p{pc:x} '#'; meet $(heard) {start} \"{first}\"
say Z0,{entry:x},4 OK
say 'vCont;c' swbreak; met swbreak '{there}'
say 'vCont;s:1;c' T05thread:01; say p{pc:x} '#'
now=$(heard); [ \"$now\" = {start} ]; meet $? 1 '{step}'
say P3={value} OK; say p3 '#'; meet $(heard) {value} '{register}'
say z0,{entry:x},4 OK
send 'vCont;c'
until grep -q 'guest: ' /console || ! kill -0 $vmm; do sleep 1; done
sleep 2
at=$(($(wc -c </out) + 1)); printf '\\003' >&3; await T02; met T02thread '{interrupted}'
say Hg1 OK
say p{pc:x} '#'; idle=$(turned $(heard))
say m$idle,4 '#'; before=$(heard)
say Z0,$idle,4 OK
say 'vCont;c' swbreak
say 'vCont;c' swbreak; met swbreak '{twice}'
say m$idle,4 '#'; meet $(heard) $before \"{memory}\"
say z0,$idle,4 OK
say Z0,{entry:x},4 OK
say M$idle,4:{own} OK
send 'vCont;c'
n=0; until grep -q '{exception}' /console; do sleep 0.2; n=$((n+1)); [ $n -gt 300 ] && break; done
if grep '{exception}' /console; then echo 'found: {its_own}'; else cat /console; fi
send k
wait $vmm
status=$?
exec 3>&-
"
        )
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Returns what the tools say, with a shell of this host.
    fn shell(script: &str) -> String {
        let script = format!("{}\n{script}", TOOLS.replace("/out", "$out"));
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn values_are_sent_from_their_low_end() {
        assert_eq!(NARROW.sent(NARROW.entry), "00800040");
        assert_eq!(AARCH64.sent(AARCH64.entry), "0000004000000000");
    }

    #[test]
    fn the_tools_do_what_the_protocol_wants() {
        assert_eq!(shell("sum 'vCont;c'"), "a8");
        assert_eq!(shell("turned 00112233"), "33221100\n");
        let answer = shell(
            "out=$(mktemp); at=1; printf '$0*\"40*%%ab#00' >$out; heard; met ab that; meet 1 2 this; rm $out",
        );
        let lines: Vec<&str> = answer.lines().collect();
        assert_eq!(
            lines,
            [
                "0000004000000000ab",
                "found: that",
                "missed: this: 1, not 2"
            ]
        );
    }
}
