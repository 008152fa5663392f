// A kernel module that sets breakpoints and watchpoints inside the kernel, on every core, on a variable and a function
// of its own, and prints for each core what they saw and what came of the accesses. It does all of it as it is loaded.
//
// Linux takes addresses of the kernel only from a caller with a handler of its own, and leaves to that handler how the
// instruction gets executed: when the handler returns it is begun again, and the exception comes again
// (arch/arm/kernel/hw_breakpoint.c steps over it only for the default handler, which is for addresses of user space).
// One handler here does what the instruction would do and sets the program counter behind it; the other relies on
// perf's limit of events, which disables the breakpoint, so that the instruction is executed.
//
// This file may also be had under the GNU General Public License, version 2, as it says at its end.

#define pr_fmt(text) KBUILD_MODNAME ": " text

#include <linux/err.h>
#include <linux/hw_breakpoint.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/perf_event.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

enum { CORES = 4 };
enum kind { WRITTEN, ACCESSED, CALLED, KINDS };

// A function for each kind of access, whose first instruction the handler knows. `next` adds one.
asm(".pushsection .text\n"
    ".arm\n"
    ".balign 4\n"
    ".type put_word, %function\n"
    "put_word: str r1, [r0]\n"
    "	bx lr\n"
    ".type put_byte, %function\n"
    "put_byte: strb r1, [r0]\n"
    "	bx lr\n"
    ".type get_word, %function\n"
    "get_word: ldr r0, [r0]\n"
    "	bx lr\n"
    ".type next, %function\n"
    "next: add r0, r0, #1\n"
    "	bx lr\n"
    ".popsection");
void put_word(u32 *at, u32 value);
void put_byte(u8 *at, u32 value);
u32 get_word(const u32 *at);
u32 next(u32 value);

static u32 watched[4] __aligned(16);

// The same words at another address, which no watchpoint knows.
static volatile u32 *unwatched;

static struct perf_event * __percpu *events[KINDS];

// What the handlers saw on each core: how often, and how many bytes after the start of the watched word, summed up.
static struct seen {
	u32 hits, distance;
} seen[CORES][KINDS];

static void count(const struct perf_event *event)
{
	enum kind kind = (unsigned long)event->overflow_handler_context;
	struct seen *at = &seen[smp_processor_id() % CORES][kind];

	at->hits++;
	at->distance += event->hw.info.trigger - (u32)event->attr.bp_addr;
}

static void on_hit(struct perf_event *event, struct perf_sample_data *data, struct pt_regs *regs)
{
	volatile void *at = (void *)unwatched + (regs->ARM_r0 - (unsigned long)watched);

	count(event);
	if (regs->ARM_pc == (unsigned long)put_word)
		*(volatile u32 *)at = regs->ARM_r1;
	else if (regs->ARM_pc == (unsigned long)put_byte)
		*(volatile u8 *)at = regs->ARM_r1;
	else if (regs->ARM_pc == (unsigned long)get_word)
		regs->ARM_r0 = *(volatile u32 *)at;
	else if (regs->ARM_pc == (unsigned long)next)
		regs->ARM_r0++;
	else
		BUG();
	regs->ARM_pc += 4;
}

// perf disables an event whose limit is reached from an interrupt that it sends to its own core. That one is taken on
// the way back to the instruction.
static void on_last_hit(struct perf_event *event, struct perf_sample_data *data, struct pt_regs *regs)
{
	count(event);
}

static void clear(void)
{
	for (enum kind kind = 0; kind < KINDS; kind++) {
		if (!IS_ERR_OR_NULL(events[kind]))
			unregister_wide_hw_breakpoint(events[kind]);
		events[kind] = NULL;
	}
}

static int set(perf_overflow_handler_t handler, bool disabled)
{
	const struct {
		u32 type;
		unsigned long at;
	} places[KINDS] = {
		[WRITTEN] = { HW_BREAKPOINT_W, (unsigned long)&watched[1] },
		[ACCESSED] = { HW_BREAKPOINT_RW, (unsigned long)&watched[2] },
		[CALLED] = { HW_BREAKPOINT_X, (unsigned long)next },
	};
	struct perf_event_attr attr;

	for (enum kind kind = 0; kind < KINDS; kind++) {
		hw_breakpoint_init(&attr);
		attr.bp_addr = places[kind].at;
		attr.bp_len = HW_BREAKPOINT_LEN_4;
		attr.bp_type = places[kind].type;
		attr.disabled = disabled;
		events[kind] = register_wide_hw_breakpoint(&attr, handler, (void *)kind);
		if (IS_ERR(events[kind])) {
			int error = PTR_ERR(events[kind]);

			pr_err("kind %u: error %d\n", kind, error);
			clear();
			return error;
		}
	}
	return 0;
}

// What there is to be seen, `rounds` times. The first and the last word are not watched.
static long accesses(void *rounds)
{
	u32 sum = 0;

	for (u32 round = 1; round <= (unsigned long)rounds; round++) {
		put_word(&watched[0], round);
		put_word(&watched[1], round);
		sum += get_word(&watched[1]);
		put_word(&watched[2], round);
		sum += get_word(&watched[2]);
		put_byte((u8 *)&watched[2] + 3, round);
		put_word(&watched[3], round);
		sum = next(sum);
	}
	return sum;
}

// The accesses by a kernel thread of each core, and what came of them.
static void on_each_core(const char *when, u32 rounds)
{
	u32 core;

	for_each_online_cpu(core) {
		const struct seen *at = seen[core % CORES];
		long sum;

		for (u32 word = 0; word < ARRAY_SIZE(watched); word++)
			unwatched[word] = 0;
		memset(seen, 0, sizeof(seen));
		sum = work_on_cpu(core, accesses, (void *)(unsigned long)(rounds + core));
		pr_info("%s, core %u: written %u at +%u accessed %u at +%u called %u at +%u sum %ld words %x %x %x %x\n",
			when, core, at[WRITTEN].hits, at[WRITTEN].distance, at[ACCESSED].hits, at[ACCESSED].distance,
			at[CALLED].hits, at[CALLED].distance, sum,
			unwatched[0], unwatched[1], unwatched[2], unwatched[3]);
	}
}

static int __init kernel_breaks(void)
{
	struct page *page = vmalloc_to_page(watched);
	void *mapped = vmap(&page, 1, VM_MAP, PAGE_KERNEL);
	int error;

	if (!mapped)
		return -ENOMEM;
	unwatched = mapped + offset_in_page(watched);
	// Twice: registers that were freed must be fit for use again.
	for (u32 turn = 0; turn < 2; turn++) {
		error = set(on_hit, false);
		if (error)
			goto out;
		on_each_core("set", 3 + turn);
		clear();
		on_each_core("cleared", 3 + turn);
	}
	error = set(on_last_hit, true);
	if (error)
		goto out;
	on_each_core("disabled", 5);
	for (u32 turn = 0; turn < 2; turn++) {
		for (enum kind kind = 0; kind < KINDS; kind++) {
			u32 core;

			for_each_online_cpu(core) {
				error = perf_event_refresh(*per_cpu_ptr(events[kind], core), 1);
				if (error)
					goto out;
			}
		}
		on_each_core("once", 5);
	}
out:
	clear();
	vunmap(mapped);
	return error;
}
module_init(kernel_breaks);

static void __exit kernel_breaks_end(void)
{
}
module_exit(kernel_breaks_end);

MODULE_DESCRIPTION("Breakpoints and watchpoints inside the kernel, on every core");
MODULE_LICENSE("Dual BSD/GPL");
