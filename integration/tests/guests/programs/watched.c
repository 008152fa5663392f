// Debugged in a guest: writes to a variable in a function that it calls, and to others beside it.

static volatile int watched[4];

__attribute__((noinline)) void called(int n)
{
	watched[1] = n;
}

void _start(void)
{
	for (int n = 1; n <= 3; n++) {
		watched[0] = 7;
		called(n);
		watched[2] = n;
	}
	register long r7 __asm__("r7") = 1;
	register long r0 __asm__("r0") = watched[1];
	__asm__ volatile("svc #0" : : "r"(r7), "r"(r0));
}
