// Uses the processor's breakpoints, watchpoints and counters as debuggers and profilers do, and prints a line for each
// thing tried. Needs nothing but a compiler: system calls are made here (ARM EABI; numbers of asm/unistd.h).

typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long s64;

enum { EXIT = 1, FORK = 2, READ = 3, WRITE = 4, CLOSE = 6, GETPID = 20, PTRACE = 26, KILL = 37, GETPPID = 64 };
enum { WAIT4 = 114, SIGACTION = 174, FCNTL = 221, PERF_EVENT_OPEN = 364 };
enum { TRACEME = 0, CONT = 7, GETHBPREGS = 29, SETHBPREGS = 30, GETSIGINFO = 0x4202 };
enum { SIGSTOP = 19, SIGIO = 29, SA_RESTART = 0x10000000 };
enum { F_SETFL = 4, F_SETOWN = 8, O_ASYNC = 0x2000 };

static long call(long n, long a, long b, long c, long d, long e)
{
	register long r7 __asm__("r7") = n;
	register long r0 __asm__("r0") = a;
	register long r1 __asm__("r1") = b;
	register long r2 __asm__("r2") = c;
	register long r3 __asm__("r3") = d;
	register long r4 __asm__("r4") = e;
	__asm__ volatile("svc #0" : "+r"(r0) : "r"(r7), "r"(r1), "r"(r2), "r"(r3), "r"(r4) : "memory");
	return r0;
}

// What the compiler calls to clear structures.
void *memset(void *at, int value, unsigned long size)
{
	for (volatile char *byte = at; size; size--)
		*byte++ = value;
	return at;
}

static void say(const char *text)
{
	u32 n = 0;
	while (text[n])
		n++;
	call(WRITE, 1, (long)text, n, 0, 0);
}

// " name value"; small numbers and errors are all there is.
static void number(const char *name, long value)
{
	char digits[12], *at = digits + sizeof(digits) - 1;
	u32 left = value < 0 ? -value : value;
	*at = 0;
	do {
		u32 tens = 0;
		while (left - 10 * tens >= 10)
			tens++;
		*--at = '0' + (left - 10 * tens);
		left = tens;
	} while (left);
	if (value < 0)
		*--at = '-';
	say(" ");
	say(name);
	say(" ");
	say(at);
}

// linux/perf_event.h, up to PERF_ATTR_SIZE_VER1.
struct attr {
	u32 type, size;
	u64 config, sample_period, sample_type, read_format, flags;
	u32 wakeup_events, bp_type;
	u64 bp_addr, bp_len;
};
enum { TYPE_HARDWARE = 0, TYPE_BREAKPOINT = 5, INSTRUCTIONS = 1 };
enum { EXCLUDE_USER = 1 << 4, EXCLUDE_KERNEL = 1 << 5, EXCLUDE_HV = 1 << 6 };
// Linux takes loads or stores alone only with v8 Debug, whose fault status tells them apart.
enum { BP_RW = 3, BP_X = 4 };

static volatile u32 watched[4] __attribute__((aligned(16)));
static volatile u32 signals;

__attribute__((noinline, target("arm"))) static void called(void)
{
	__asm__ volatile("nop");
}

__attribute__((noinline, target("thumb"))) static void called_t32(void)
{
	__asm__ volatile("nop");
}

static long open_event(struct attr *attr)
{
	attr->size = sizeof(*attr);
	return call(PERF_EVENT_OPEN, (long)attr, 0, -1, -1, 0);
}

static long count(long fd)
{
	s64 value = -1;
	return call(READ, fd, (long)&value, sizeof(value), 0, 0) == sizeof(value) ? (long)value : fd;
}

static long breakpoint(u32 type, void *at)
{
	struct attr attr = {
		.type = TYPE_BREAKPOINT,
		.sample_period = 1,
		.flags = EXCLUDE_KERNEL | EXCLUDE_HV,
		.bp_type = type,
		.bp_addr = (u32)at,
		.bp_len = 4,
	};
	return open_event(&attr);
}

static void perf_breakpoints(void)
{
	long written = breakpoint(BP_RW, (void *)&watched[1]);
	long read = breakpoint(BP_RW, (void *)&watched[2]);
	long calls = breakpoint(BP_X, called);
	for (u32 i = 0; i < 5; i++) {
		watched[0] = i;
		watched[1] = watched[2] + i;
		watched[3] = i;
		called();
	}
	say("perf:");
	number("written", count(written));
	number("read", count(read));
	number("calls", count(calls));
	number("value", watched[1]);
	say("\n");
	call(CLOSE, written, 0, 0, 0, 0);
	call(CLOSE, read, 0, 0, 0, 0);
	call(CLOSE, calls, 0, 0, 0, 0);
}

static void traced(void)
{
	call(PTRACE, TRACEME, 0, 0, 0, 0);
	call(KILL, call(GETPID, 0, 0, 0, 0, 0), SIGSTOP, 0, 0, 0);
	watched[0] = 1;
	watched[2] = 7;
	called();
	called_t32();
	call(EXIT, watched[2], 0, 0, 0, 0);
}

// Runs the child until its next stop, and says why it is that.
static void next_stop(long child, const char *what)
{
	int status = 0;
	u32 info[32] = { 0 };
	call(PTRACE, CONT, child, 0, 0, 0);
	call(WAIT4, child, (long)&status, 0, 0, 0);
	say(what);
	if ((status & 255) == 127) {
		call(PTRACE, GETSIGINFO, child, 0, (long)info, 0);
		u32 at = info[3];
		number("signal", info[0]);
		number("code", info[2]);
		number("known", at == (u32)&watched[2] ? 1 : at == (u32)called ? 2 : at == ((u32)called_t32 & ~1u) ? 3 : 0);
	} else {
		number("exit", status >> 8);
	}
	say("\n");
}

static void set(long child, long which, u32 value)
{
	long error = call(PTRACE, SETHBPREGS, child, which, (long)&value, 0);
	if (error) {
		number("register", which);
		number("error", error);
		say("\n");
	}
}

static void ptrace_registers(void)
{
	u32 info = 0;
	int status;
	long child = call(FORK, 0, 0, 0, 0, 0);
	if (!child)
		traced();
	call(WAIT4, child, (long)&status, 0, 0, 0);
	call(PTRACE, GETHBPREGS, child, 0, (long)&info, 0);
	say("ptrace:");
	number("breakpoints", info & 255);
	number("watchpoints", info >> 8 & 255);
	say("\n");
	// Negative numbers are watchpoints. First the address, then the control: bytes, kind of access, PL0, enabled.
	u32 store = 15 << 5 | 2 << 3 | 2 << 1, word = 15 << 5 | 2 << 1, half = 3 << 5 | 2 << 1;
	set(child, -1, (u32)&watched[2]);
	set(child, -2, store | 1);
	next_stop(child, "store:");
	set(child, -2, store);
	set(child, 1, (u32)called);
	set(child, 2, word | 1);
	next_stop(child, "call:");
	set(child, 2, word);
	set(child, 3, (u32)called_t32 & ~1u);
	set(child, 4, half | 1);
	next_stop(child, "call of T32:");
	set(child, 4, half);
	next_stop(child, "child:");
}

static void on_signal(int signal)
{
	(void)signal;
	signals++;
}

static void counters(void)
{
	struct attr user = { .config = INSTRUCTIONS, .flags = EXCLUDE_KERNEL | EXCLUDE_HV };
	struct attr kernel = { .config = INSTRUCTIONS, .flags = EXCLUDE_USER | EXCLUDE_HV };
	long in_user = open_event(&user), in_kernel = open_event(&kernel);
	for (u32 i = 0; i < 100; i++)
		call(GETPPID, 0, 0, 0, 0, 0);
	for (volatile u32 i = 0; i < 100000; i++)
		;
	long u = count(in_user), k = count(in_kernel);
	say("counters:");
	number("user", u > 300000 && u < 2000000);
	number("kernel", k > 2000);
	number("apart", k < u);
	say("\n");
	call(CLOSE, in_user, 0, 0, 0, 0);
	call(CLOSE, in_kernel, 0, 0, 0, 0);

	struct { void *handler; u32 flags; void *restorer; u64 mask; } action = { on_signal, SA_RESTART, 0, 0 };
	call(SIGACTION, SIGIO, (long)&action, 0, 8, 0);
	user.sample_period = 100000;
	user.wakeup_events = 1;
	long sampled = open_event(&user);
	call(FCNTL, sampled, F_SETOWN, call(GETPID, 0, 0, 0, 0, 0), 0, 0);
	call(FCNTL, sampled, F_SETFL, O_ASYNC, 0, 0);
	for (volatile u32 i = 0; i < 400000; i++)
		;
	call(CLOSE, sampled, 0, 0, 0, 0);
	say("samples:");
	number("enough", signals > 8 && signals < 100);
	say("\n");
}

void _start(void)
{
	perf_breakpoints();
	ptrace_registers();
	counters();
	call(EXIT, 0, 0, 0, 0, 0);
}
