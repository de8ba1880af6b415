/*
 * A program that maps a device's memory and stores to it in every way. The part to play is its argument.
 * It ends with a failure when something is not as on Linux. It is long for being one program: every part is on
 * its own, and shares the mapping and the handlers at the top.
 *
 * The device is `dmatest`: 4 KiB from 0x1000 on (the script) hold what is stored, the word at 0x18 counts.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define BIND 0x3b76
#define SIZE 0x10000
#define SCRIPT 0x1000
#define CONFIG (7ull << 40)

#define CHECK(what) do { if (!(what)) { fprintf(stderr, "line %d: %s (errno %d)\n", __LINE__, #what, errno); exit(1); } } while (0)

/* Nothing is allocated while a store is made: a handler of signals must not. */
static volatile int in_store;

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

void *malloc(size_t size)
{
    return in_store ? abort(), NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return in_store ? abort(), NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    return in_store ? abort(), NULL : __libc_realloc(old, size);
}

int posix_memalign(void **to, size_t alignment, size_t size)
{
    *to = in_store ? abort(), NULL : __libc_memalign(alignment, size);
    return *to ? 0 : ENOMEM;
}

static int device = -1;
static volatile uint8_t *bar;

static int bind_device(int fd)
{
    struct { uint32_t argsz, flags; int32_t iommufd; uint32_t devid; } it = { sizeof it, 0, 0, 0 };
    it.iommufd = open("/dev/iommu", O_RDWR);
    CHECK(it.iommufd >= 0);
    int result = ioctl(fd, BIND, &it);
    int error = errno;
    close(it.iommufd);
    errno = error;
    return result;
}

static void map_at(void *at, int flags)
{
    device = open("/dev/vfio/devices/vfio0", O_RDWR | O_CLOEXEC);
    CHECK(device >= 0);
    CHECK(bind_device(device) == 0);
    bar = mmap(at, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | flags, device, 0);
    CHECK(bar != MAP_FAILED);
    CHECK(*(volatile uint32_t *)bar == 0x74616d64);
}

static void map(void)
{
    map_at(NULL, 0);
}

static volatile uint32_t *word(int index)
{
    return (volatile uint32_t *)(bar + SCRIPT) + index;
}

static sigjmp_buf back;
static siginfo_t seen;

static int faults(volatile uint32_t *at, int *code)
{
    if (sigsetjmp(back, 1) == 0) {
        *at = 0x77;
        return 0;
    }
    *code = seen.si_code;
    return seen.si_addr == (void *)at ? 1 : -1;
}

static void remember(int number, siginfo_t *info, void *context)
{
    (void)context;
    seen = *info;
    siglongjmp(back, number);
}

static void catch_faults(void)
{
    struct sigaction action = { .sa_sigaction = remember, .sa_flags = SA_SIGINFO };
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
    CHECK(sigaction(SIGBUS, &action, NULL) == 0);
    CHECK(sigaction(SIGILL, &action, NULL) == 0);
}

/* Every form, on ordinary memory and on the device's. */

struct registers { uint64_t a, c, d, b, S, D, flags; };

uint8_t pattern[64] __attribute__((aligned(64)));
static uint8_t ram[256] __attribute__((aligned(64)));

#define CF 1
#define PF 4
#define AF 0x10
#define ZF 0x40
#define SF 0x80
#define OF 0x800
#define EVERY (CF | PF | AF | ZF | SF | OF)

#define FORM(name, compared, text) \
    static void form_##name(struct registers *r) \
    { \
        __asm__ volatile("pushq %[f]\n\tpopfq\n\t" text "\n\tpushfq\n\tpopq %[f]\n\tcld" \
            : "+a"(r->a), "+c"(r->c), "+d"(r->d), "+b"(r->b), "+S"(r->S), "+D"(r->D), [f] "+r"(r->flags) \
            : : "memory", "cc", "xmm1", "xmm2"); \
    }
#define LOAD1 "vmovdqu pattern(%%rip), %%ymm1\n\t"
#define LOADZ "vmovdqu64 pattern(%%rip), %%zmm1\n\t"
#define LOADX "movdqu pattern(%%rip), %%xmm1\n\t"

#define PLAIN(X) \
    X(mov8, EVERY, "movb %%cl, (%%rdi)") X(mov8h, EVERY, "movb %%ch, 3(%%rdi)") \
    X(mov16, EVERY, "movw %%cx, 2(%%rdi)") X(mov32, EVERY, "movl %%ecx, 4(%%rdi)") \
    X(mov64, EVERY, "movq %%rcx, 8(%%rdi)") X(odd16, EVERY, "movw %%cx, 1(%%rdi)") \
    X(odd32, EVERY, "movl %%ecx, 3(%%rdi)") X(odd64, EVERY, "movq %%rcx, 5(%%rdi)") \
    X(immediate8, EVERY, "movb $0x5a, (%%rdi)") X(immediate16, EVERY, "movw $0x1234, (%%rdi)") \
    X(immediate32, EVERY, "movl $0x12345678, (%%rdi)") X(immediate64, EVERY, "movq $-2, (%%rdi)") \
    X(index, EVERY, "movl %%ecx, 4(%%rdi,%%rsi,4)") X(movnti, EVERY, "movnti %%rcx, (%%rdi)") \
    X(add8, EVERY, "addb %%cl, (%%rdi)") X(add32, EVERY, "addl %%ecx, (%%rdi)") \
    X(add64, EVERY, "addq %%rcx, (%%rdi)") X(adc32, EVERY, "adcl %%ecx, (%%rdi)") \
    X(sub16, EVERY, "subw %%cx, (%%rdi)") X(sbb64, EVERY, "sbbq %%rcx, (%%rdi)") \
    X(and32, EVERY & ~AF, "andl $0xff00, (%%rdi)") X(or8, EVERY & ~AF, "orb $0x81, (%%rdi)") \
    X(or32s, EVERY & ~AF, "orl $-128, (%%rdi)") X(xor64, EVERY & ~AF, "xorq %%rcx, (%%rdi)") \
    X(inc32, EVERY, "incl (%%rdi)") X(dec64, EVERY, "decq (%%rdi)") X(not16, EVERY, "notw (%%rdi)") \
    X(neg32, EVERY, "negl (%%rdi)") X(locked, EVERY, "lock addl $1, (%%rdi)") \
    X(xchg32, EVERY, "xchgl %%ecx, (%%rdi)") X(xchg8, EVERY, "xchgb %%cl, (%%rdi)") \
    X(xadd64, EVERY, "lock xaddq %%rcx, (%%rdi)") X(cmpxchg, EVERY, "lock cmpxchgl %%ecx, (%%rdi)") \
    X(cmpxchg_equal, EVERY, "movq (%%rdi), %%rax\n\tcmpxchgq %%rcx, (%%rdi)") \
    X(cmpxchg8b, EVERY, "cmpxchg8b (%%rdi)") X(cmpxchg16b, EVERY, "cmpxchg16b (%%rdi)") \
    X(cmpxchg16b_equal, EVERY, "movq (%%rdi), %%rax\n\tmovq 8(%%rdi), %%rdx\n\tcmpxchg16b (%%rdi)") \
    X(bts, EVERY & ~(PF | AF | SF | OF), "btsl $3, (%%rdi)") X(btr, EVERY & ~(PF | AF | SF | OF), "btrl $0, (%%rdi)") \
    X(btc, EVERY & ~(PF | AF | SF | OF), "btcq %%rsi, (%%rdi)") \
    X(shl, EVERY & ~AF, "shll $1, (%%rdi)") X(shr, EVERY & ~AF, "shrl $1, (%%rdi)") \
    X(sar, EVERY & ~AF, "sarb $1, (%%rdi)") X(shl5, EVERY & ~(AF | OF), "shlw $5, (%%rdi)") \
    X(shrc, EVERY & ~(AF | OF), "shrq %%cl, (%%rdi)") X(rol, EVERY, "roll $1, (%%rdi)") \
    X(ror7, EVERY & ~OF, "rorl $7, (%%rdi)") X(setz, EVERY, "setz (%%rdi)") X(setc, EVERY, "setc (%%rdi)") \
    X(pop, EVERY, "pushq %%rcx\n\tpopq 8(%%rdi)") \
    X(stosb, EVERY, "stosb") X(stosq, EVERY, "stosq") X(stosd_down, EVERY, "leaq 32(%%rdi), %%rdi\n\tstd\n\tstosl\n\tleaq -32(%%rdi), %%rdi") \
    X(rep_stosb, EVERY, "movl $100, %%ecx\n\trep stosb") X(rep_stosq, EVERY, "movl $9, %%ecx\n\trep stosq") \
    X(movsq, EVERY, "leaq pattern(%%rip), %%rsi\n\tmovsq\n\tmovl $3, %%esi") \
    X(rep_movsb, EVERY, "leaq pattern(%%rip), %%rsi\n\tmovl $63, %%ecx\n\trep movsb\n\tmovl $3, %%esi") \
    X(rep_none, EVERY, "xorl %%ecx, %%ecx\n\trep stosb") \
    X(movups, EVERY, LOADX "movups %%xmm1, 8(%%rdi)") X(movaps, EVERY, LOADX "movaps %%xmm1, 16(%%rdi)") \
    X(movdqa, EVERY, LOADX "movdqa %%xmm1, (%%rdi)") X(movntdq, EVERY, LOADX "movntdq %%xmm1, (%%rdi)") \
    X(movss, EVERY, LOADX "movss %%xmm1, 4(%%rdi)") X(movsd, EVERY, LOADX "movsd %%xmm1, 4(%%rdi)") \
    X(movd, EVERY, LOADX "movd %%xmm1, 4(%%rdi)") X(movq, EVERY, LOADX "movq %%xmm1, (%%rdi)") \
    X(movhps, EVERY, LOADX "movhps %%xmm1, (%%rdi)") X(movlpd, EVERY, LOADX "movlpd %%xmm1, (%%rdi)")
#define SSE4(X) \
    X(pextrb, EVERY, LOADX "pextrb $5, %%xmm1, (%%rdi)") X(pextrq, EVERY, LOADX "pextrq $1, %%xmm1, (%%rdi)")
#define MOVBE(X) X(movbe, EVERY, "movbeq %%rcx, (%%rdi)")
#define AVX(X) \
    X(vmovups, EVERY, LOAD1 "vmovups %%ymm1, 8(%%rdi)") X(vmovdqa, EVERY, LOAD1 "vmovdqa %%ymm1, 32(%%rdi)") \
    X(vmovntdq, EVERY, LOAD1 "vmovntdq %%ymm1, (%%rdi)") X(vmovss, EVERY, LOAD1 "vmovss %%xmm1, (%%rdi)") \
    X(vextractf128, EVERY, LOAD1 "vextractf128 $1, %%ymm1, (%%rdi)") \
    X(vmaskmovps, EVERY, LOAD1 "vmaskmovps %%ymm1, %%ymm1, (%%rdi)")
#define AVX512(X) \
    X(zmm, EVERY, LOADZ "vmovdqu64 %%zmm1, (%%rdi)") X(zmm_odd, EVERY, LOADZ "vmovdqu64 %%zmm1, 4(%%rdi)") \
    X(zmm17, EVERY, LOADZ "vmovdqa64 %%zmm1, %%zmm17\n\tvmovntdq %%zmm17, 64(%%rdi)") \
    X(masked, EVERY, LOADZ "movl $0xa5, %%ecx\n\tkmovw %%ecx, %%k1\n\tvmovdqu64 %%zmm1, (%%rdi)%{%%k1%}") \
    X(extracted, EVERY, LOADZ "vextracti64x4 $1, %%zmm1, (%%rdi)")

PLAIN(FORM) SSE4(FORM) MOVBE(FORM) AVX(FORM) AVX512(FORM)

static int forms_made;

static void same(const char *name, uint64_t flags, void (*form)(struct registers *))
{
    uint8_t *place = (uint8_t *)bar + SCRIPT;
    for (int index = 0; index < 256; index++)
        ram[index] = 0x81 + index * 7;
    memcpy(place, ram, sizeof ram);
    for (int set = 0; set < 2; set++) {
        struct registers first = { 0x1122334455667788, 0x99aabbccddeeff00, 3, 0xfeedfacecafebeef, 3, 0, 0x202 };
        if (set)
            first.flags |= EVERY, first.c = 0x0102030405060708;
        struct registers one = first, other = first;
        one.D = (uint64_t)ram;
        other.D = (uint64_t)place;
        form(&one);
        in_store = 1;
        form(&other);
        in_store = 0;
        one.D -= (uint64_t)ram;
        other.D -= (uint64_t)place;
        one.flags &= flags;
        other.flags &= flags;
        if (memcmp(&one, &other, sizeof one) || memcmp(ram, place, sizeof ram)) {
            fprintf(stderr, "%s: not the same on the device: flags %lx %lx, rcx %lx %lx, rdi %lx %lx\n", name,
                one.flags, other.flags, one.c, other.c, one.D, other.D);
            for (int index = 0; index < 256; index++)
                if (ram[index] != place[index])
                    fprintf(stderr, "  byte %d: %02x %02x\n", index, ram[index], place[index]);
            exit(1);
        }
        forms_made++;
    }
}

#define SAME(name, compared, text) same(#name, compared, form_##name);

static void forms(void)
{
    map();
    for (int index = 0; index < 64; index++)
        pattern[index] = 0xc0 ^ index * 5;
    PLAIN(SAME)
    if (__builtin_cpu_supports("sse4.1")) { SSE4(SAME) } else puts("skipped: no SSE4.1");
    if (__builtin_cpu_supports("avx2")) { MOVBE(SAME) AVX(SAME) } else puts("skipped: no AVX2, no MOVBE");
    if (__builtin_cpu_supports("avx512f")) { AVX512(SAME) } else puts("skipped: no AVX-512");
    printf("%d forms\n", forms_made);
}

static int has(int bit)
{
    uint32_t a = 7, b, c = 0, d;
    __asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return c >> bit & 1;
}

/* 64 bytes at once, whether the processor knows it or not. */
static void portal(void)
{
    static uint8_t line[64];
    map();
    for (int index = 0; index < 64; index++)
        line[index] = 0x40 + index;
    uint64_t to = (uint64_t)bar + SCRIPT + 64, from = (uint64_t)line;
    __asm__ volatile(".byte 0x66, 0x0f, 0x38, 0xf8, 0x3e" : : "D"(to), "S"(from) : "memory");
    CHECK(!memcmp((void *)to, line, 64));
    /* movdiri [rdi], ecx */
    __asm__ volatile(".byte 0x0f, 0x38, 0xf9, 0x0f" : : "D"(to), "c"(0x12345678) : "memory");
    CHECK(*(uint32_t *)to == 0x12345678);
    /* enqcmd rdi, [rsi]: dmatest takes no command */
    uint8_t retry = 0;
    __asm__ volatile(".byte 0xf2, 0x0f, 0x38, 0xf8, 0x3e\n\tsetz %0" : "=r"(retry) : "D"(to), "S"(from) : "memory", "cc");
    CHECK(retry == 1);
    /* with a source that is not there, and to ordinary memory */
    catch_faults();
    if (sigsetjmp(back, 1) == 0) {
        __asm__ volatile(".byte 0x66, 0x0f, 0x38, 0xf8, 0x3e" : : "D"(to), "S"(0x10000ul) : "memory");
        CHECK(!"reached");
    }
    CHECK(seen.si_signo == SIGSEGV && seen.si_code == SEGV_MAPERR && seen.si_addr == (void *)0x10000);
    int known = 0;
    if (sigsetjmp(back, 1) == 0) {
        __asm__ volatile(".byte 0x66, 0x0f, 0x38, 0xf8, 0x3e" : : "D"(ram), "S"(from) : "memory");
        known = 1;
    }
    CHECK(known == has(28));
    CHECK(known || seen.si_signo == SIGILL);
    printf("movdir64b by the processor: %d, enqcmd: %d\n", has(28), has(29));
}

/* The program's own handlers. */

static volatile int times;
static volatile int user_blocked, fault_blocked, on_stack;
static uint8_t *own;
static char *stack;
static volatile uint64_t *fixup;

static void fix(int number, siginfo_t *info, void *context)
{
    sigset_t mask;
    char here;
    seen = *info;
    times++;
    sigprocmask(SIG_SETMASK, NULL, &mask);
    user_blocked = sigismember(&mask, SIGUSR1);
    fault_blocked = sigismember(&mask, SIGSEGV);
    on_stack = stack && &here >= stack && &here < stack + 65536;
    *word(7) = 0x1000 + times; /* a store of its own */
    mprotect(own, 4096, PROT_READ | PROT_WRITE);
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_R8] = number;
}

static void touch_own(void)
{
    mprotect(own, 4096, PROT_READ);
    int before = times;
    own[9] = 1;
    CHECK(times == before + 1);
    CHECK(seen.si_signo == SIGSEGV && seen.si_code == SEGV_ACCERR && seen.si_addr == own + 9);
    CHECK(*word(7) == 0x1000 + times);
}

static void jump(int number)
{
    siglongjmp(back, number);
}

static void leave_it(int number)
{
    (void)number;
}

static void handlers(void)
{
    struct sigaction action = { 0 }, old;
    own = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stack = malloc(65536);
    stack_t alternative = { .ss_sp = stack, .ss_size = 65536 };
    CHECK(sigaltstack(&alternative, NULL) == 0);
    /* installed before there is a mapping */
    action.sa_sigaction = fix;
    action.sa_flags = SA_SIGINFO;
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGUSR1);
    sigaddset(&action.sa_mask, SIGSEGV);
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
    map();
    touch_own();
    CHECK(user_blocked == 1 && fault_blocked == 1 && on_stack == 0);
    CHECK(sigaction(SIGSEGV, NULL, &old) == 0);
    CHECK(old.sa_sigaction == fix && (old.sa_flags & ~0x04000000) == SA_SIGINFO);
    CHECK(sigismember(&old.sa_mask, SIGUSR1) == 1 && sigismember(&old.sa_mask, SIGSEGV) == 1);
    CHECK(sigismember(&old.sa_mask, SIGUSR2) == 0);
    /* with other flags */
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigemptyset(&action.sa_mask);
    CHECK(sigaction(SIGSEGV, &action, &old) == 0);
    CHECK(old.sa_sigaction == fix);
    touch_own();
    CHECK(user_blocked == 0 && fault_blocked == 0 && on_stack == 1);
    *word(1) = 77; /* on the alternate stack now */
    CHECK(*word(1) == 77);
    /* sent by somebody */
    CHECK(raise(SIGSEGV) == 0);
    CHECK(seen.si_code == SI_TKILL && seen.si_pid == getpid());
    /* while it is blocked, it waits */
    sigset_t set, before;
    int count = times;
    sigemptyset(&set);
    sigaddset(&set, SIGSEGV);
    CHECK(sigprocmask(SIG_BLOCK, &set, &before) == 0);
    CHECK(sigismember(&before, SIGSEGV) == 0);
    *word(2) = 5;
    CHECK(*word(2) == 5);
    CHECK(kill(getpid(), SIGSEGV) == 0);
    CHECK(times == count);
    CHECK(sigprocmask(SIG_UNBLOCK, &set, &before) == 0);
    CHECK(sigismember(&before, SIGSEGV) == 1);
    CHECK(times == count + 1);
    /* once only */
    action.sa_flags = SA_SIGINFO | SA_RESETHAND;
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
    touch_own();
    CHECK(sigaction(SIGSEGV, NULL, &old) == 0);
    CHECK(old.sa_handler == SIG_DFL);
    /* out of the handler by a jump, again and again */
    CHECK(signal(SIGSEGV, jump) == SIG_DFL);
    for (volatile int round = 0; round < 1000; round++) {
        if (sigsetjmp(back, 1) == 0) {
            *word(3) = round;
            *(volatile int *)8 = 1;
            CHECK(!"reached");
        }
        CHECK(*word(3) == round);
    }
    CHECK(signal(SIGSEGV, SIG_DFL) == jump);
    /* ignored: what is sent is dropped */
    CHECK(signal(SIGSEGV, SIG_IGN) == SIG_DFL);
    raise(SIGSEGV);
    *word(4) = 6;
    CHECK(*word(4) == 6);
    /* sent to a program that waits, which goes on waiting or does not */
    int ends[2];
    char byte;
    CHECK(pipe(ends) == 0);
    for (int restarts = 0; restarts < 2; restarts++) {
        struct sigaction waits = { .sa_handler = leave_it, .sa_flags = restarts ? SA_RESTART : 0 };
        CHECK(sigaction(SIGSEGV, &waits, NULL) == 0);
        pid_t child = fork();
        if (child == 0) {
            usleep(200000);
            kill(getppid(), SIGSEGV);
            usleep(200000);
            _exit(write(ends[1], "x", 1) != 1);
        }
        ssize_t got = read(ends[0], &byte, 1);
        CHECK(restarts ? got == 1 : got == -1 && errno == EINTR);
        CHECK(restarts || read(ends[0], &byte, 1) == 1);
        CHECK(waitpid(child, NULL, 0) == child);
    }
    /* SIGILL */
    CHECK(signal(SIGILL, jump) == SIG_DFL);
    for (volatile int round = 0; round < 10; round++)
        if (sigsetjmp(back, 1) == 0) {
            __asm__ volatile("ud2");
            CHECK(!"reached");
        }
    puts("handlers");
}

static void store_in_handler(int number)
{
    *word(10) = number;
}

static void *blocked_thread(void *argument)
{
    (void)argument;
    *word(12) = 12;
    return NULL;
}

static void fault_in_handler(int number)
{
    int code;
    (void)number;
    CHECK(faults((void *)8, &code) == 1 && code == SEGV_MAPERR);
}

/* Every signal but those of faults blocked, as programs do that catch faults: they are caught. */
static void all_but_faults(void)
{
    sigset_t most, before;
    pthread_attr_t attributes;
    pthread_t thread;
    struct sigaction action = { 0 }, old;
    int code;
    catch_faults();
    sigfillset(&most);
    sigdelset(&most, SIGSEGV);
    sigdelset(&most, SIGILL);
    CHECK(sigprocmask(SIG_SETMASK, &most, &before) == 0);
    CHECK(sigprocmask(SIG_BLOCK, &most, NULL) == 0);
    CHECK(faults((void *)8, &code) == 1 && code == SEGV_MAPERR);
    *word(13) = 13;
    CHECK(sigprocmask(SIG_SETMASK, &before, &most) == 0);
    CHECK(sigismember(&most, SIGSEGV) == 0 && sigismember(&most, SIGUSR1) == 1);
    action.sa_handler = fault_in_handler;
    sigfillset(&action.sa_mask);
    sigdelset(&action.sa_mask, SIGSEGV);
    CHECK(sigaction(SIGUSR2, &action, NULL) == 0);
    raise(SIGUSR2);
    /* nobody blocks those two */
    sigfillset(&action.sa_mask);
    action.sa_handler = SIG_DFL;
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0 && sigaction(SIGSEGV, NULL, &old) == 0);
    CHECK(!sigismember(&old.sa_mask, SIGKILL) && !sigismember(&old.sa_mask, SIGSTOP) && sigismember(&old.sa_mask, SIGUSR1));
    /* a thread that begins with every signal blocked */
    sigfillset(&most);
    CHECK(pthread_attr_init(&attributes) == 0 && pthread_attr_setsigmask_np(&attributes, &most) == 0);
    *word(12) = 0;
    CHECK(pthread_create(&thread, &attributes, blocked_thread, NULL) == 0 && pthread_join(thread, NULL) == 0);
    CHECK(*word(12) == 12);
}

/* Signals blocked, as programs do for their threads and handlers. */
static void masks(void)
{
    sigset_t all, before;
    struct sigaction action = { 0 };
    pthread_t thread;
    map();
    sigfillset(&all);
    CHECK(pthread_sigmask(SIG_SETMASK, &all, NULL) == 0);
    *word(11) = 11;
    CHECK(*word(11) == 11);
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &before) == 0);
    CHECK(sigismember(&before, SIGSEGV) == 1 && sigismember(&before, SIGUSR1) == 1);
    CHECK(pthread_create(&thread, NULL, blocked_thread, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(*word(12) == 12);
    sigemptyset(&all);
    CHECK(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    CHECK(pthread_sigmask(SIG_BLOCK, NULL, &before) == 0);
    CHECK(sigismember(&before, SIGSEGV) == 0 && sigismember(&before, SIGSTKFLT) == 0);
    action.sa_handler = store_in_handler;
    sigfillset(&action.sa_mask);
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    raise(SIGUSR1);
    CHECK(*word(10) == SIGUSR1);
    struct sigaction old;
    CHECK(sigaction(SIGUSR1, NULL, &old) == 0);
    CHECK(old.sa_handler == store_in_handler && sigismember(&old.sa_mask, SIGSEGV) == 1);
    all_but_faults();
    puts("masks");
}

/* Several at once. */

static uint32_t rounds = 3000;

static void *count_up(void *argument)
{
    volatile uint32_t *place = word((intptr_t)argument * 16);
    for (uint32_t round = 1; round <= rounds; round++) {
        *place = round;
        if (*place != round)
            return (void *)1;
        place[1] += 1;
    }
    return NULL;
}

static void threads(void)
{
    pthread_t thread[4];
    map();
    for (intptr_t index = 0; index < 4; index++)
        CHECK(pthread_create(&thread[index], NULL, count_up, (void *)index) == 0);
    for (int index = 0; index < 4; index++) {
        void *result;
        CHECK(pthread_join(thread[index], &result) == 0);
        CHECK(result == NULL);
        CHECK(*word(index * 16 + 1) == rounds);
    }
    puts("threads");
}

/* No descriptor is left, and the stack for signals is a small one. */
static void scarce(void)
{
    pthread_t thread[4];
    char *small = mmap(NULL, 0x4000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t size = sysconf(_SC_MINSIGSTKSZ) + 4096;
    stack_t alternative = { .ss_sp = small, .ss_size = size };
    size_t used = 0;
    map();
    CHECK(sigaltstack(&alternative, NULL) == 0);
    memset(small, 0xaa, size);
    *word(1) = 5;
    for (size_t index = 0; index < size; index++)
        if (small[index] != (char)0xaa) {
            used = size - index;
            break;
        }
    printf("stack of a store: %zu of %zu bytes\n", used, size);
    CHECK(used > 0);
    struct rlimit few = { 100, 100 };
    CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
    while (dup(0) >= 0)
        ;
    CHECK(errno == EMFILE);
    rounds = 50; /* one connection for all of them */
    for (intptr_t index = 0; index < 4; index++)
        CHECK(pthread_create(&thread[index], NULL, count_up, (void *)index) == 0);
    for (int index = 0; index < 4; index++) {
        void *result;
        CHECK(pthread_join(thread[index], &result) == 0);
        CHECK(result == NULL);
    }
    puts("scarce");
}

static void forks(void)
{
    int status;
    map();
    *word(0) = 1;
    for (int round = 0; round < 5; round++) {
        pid_t child = fork();
        if (child == 0) {
            *word(1) += 1;
            *word(2) = getpid();
            close(device);
            *word(3) = round;
            _exit(*word(2) == (uint32_t)getpid() ? 7 : 8);
        }
        *word(4) = round;
        CHECK(waitpid(child, &status, 0) == child);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
        CHECK(*word(1) == (uint32_t)round + 1 && *word(2) == (uint32_t)child && *word(3) == (uint32_t)round);
    }
    CHECK(*word(0) == 1 && *word(4) == 4);
    puts("forks");
}

/* Parts of a mapping taken away, changed, moved. */
static void unmap(void)
{
    int code;
    map();
    catch_faults();
    CHECK(munmap((void *)(bar + 0x4000), 0x2000) == 0);
    CHECK(faults((void *)(bar + 0x4ff0), &code) == 1 && code == SEGV_MAPERR);
    CHECK(faults((void *)(bar + 0x3ff0), &code) == 0);
    CHECK(faults((void *)(bar + 0x6000), &code) == 0);
    *word(0) = 3;
    CHECK(*word(0) == 3);
    /* to be read only, and back */
    CHECK(mprotect((void *)(bar + SCRIPT), 4096, PROT_READ) == 0);
    CHECK(faults(word(0), &code) == 1 && code == SEGV_ACCERR);
    CHECK(*word(0) == 3);
    CHECK(mprotect((void *)(bar + SCRIPT), 4096, PROT_NONE) == 0);
    CHECK(faults(word(0), &code) == 1 && code == SEGV_ACCERR);
    CHECK(mprotect((void *)bar, 0x3000, PROT_READ | PROT_WRITE) == 0);
    CHECK(faults(word(0), &code) == 0 && *word(0) == 0x77);
    CHECK(mprotect((void *)bar, SIZE, PROT_READ) == -1 && errno == ENOMEM); /* there is a hole */
    CHECK(mprotect((void *)bar, 0x3000, PROT_READ | PROT_WRITE) == 0);
    /* moved: what is stored there goes to the same registers */
    void *place = mmap(NULL, 0x1000, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    volatile uint32_t *moved = mremap((void *)(bar + SCRIPT), 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, place);
    CHECK(moved == place);
    moved[5] = 5;
    CHECK(moved[5] == 5);
    CHECK(faults(word(0), &code) == 1 && code == SEGV_MAPERR);
    CHECK(mremap((void *)moved, 4096, 8192, MREMAP_MAYMOVE) == MAP_FAILED && errno == EFAULT);
    /* the same again somewhere else, over a reservation */
    uint8_t *room = mmap(NULL, SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    volatile uint32_t *again = mmap(room + 0x1000, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, device, SCRIPT);
    CHECK(again == (void *)(room + 0x1000));
    again[6] = 6;
    CHECK(moved[6] == 6);
    /* two beside each other, of three that are cut to two, and moved, where the kernel lets them be */
    uint8_t *three = room + 0x4000;
    for (int page = 0; page < 3; page++)
        CHECK(mmap(three + page * 0x1000, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, device, SCRIPT + (page - 1) * 0x1000) != MAP_FAILED);
    CHECK(mremap(three, 0x3000, 0x2000, 0) == three);
    again = (void *)(three + 0x1000);
    CHECK(faults(again + 7, &code) == 0 && again[7] == 0x77 && moved[7] == 0x77);
    CHECK(faults((void *)(three + 0x2000), &code) == 1 && code == SEGV_MAPERR);
    CHECK(faults((void *)(three + 0x20), &code) == 0);
    if (mremap(three, 0x2000, 0x2000, MREMAP_MAYMOVE | MREMAP_FIXED, room + 0x8000) != MAP_FAILED) {
        CHECK(faults((void *)again, &code) == 1 && code == SEGV_MAPERR);
        again = (void *)(room + 0x9000);
    }
    again[7] = 8;
    CHECK(moved[7] == 8);
    again = (void *)(room + 0x1000);
    /* ordinary memory in its place */
    CHECK(mmap(room + 0x1000, 0x1000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, -1, 0) == again);
    again[6] = 9;
    CHECK(again[6] == 9 && moved[6] == 6);
    CHECK(munmap((void *)bar, SIZE) == 0 && munmap((void *)moved, 4096) == 0);
    CHECK(faults((void *)bar, &code) == 1 && code == SEGV_MAPERR);
    /* an address that cannot be */
    CHECK(faults((void *)0x8000000000000000, &code) == -1 && code == SI_KERNEL && seen.si_addr == NULL);
    /* mapped to be read only */
    volatile uint32_t *first = mmap(NULL, 0x1000, PROT_READ, MAP_SHARED, device, 0);
    CHECK(first[0] == 0x74616d64);
    CHECK(faults(first, &code) == 1 && code == SEGV_ACCERR);
    /* more than there is room for */
    for (int index = 0; index < 3; index++) {
        size_t length[] = { SIZE_MAX, SIZE_MAX & ~0xfffull, 1ull << 62 };
        CHECK(mmap(NULL, length[index], PROT_READ, MAP_SHARED, device, 0) == MAP_FAILED && errno == ENOMEM);
    }
    CHECK(mmap(NULL, 0, PROT_READ, MAP_SHARED, device, 0) == MAP_FAILED && errno == EINVAL);
    puts("unmap");
}

/* A mapping keeps the device open. */
static void closed(void)
{
    map();
    CHECK(close(device) == 0);
    *word(1) = 8;
    CHECK(*word(1) == 8);
    int other = open("/dev/vfio/devices/vfio0", O_RDWR);
    CHECK(other >= 0);
    CHECK(bind_device(other) == -1 && errno == EINVAL);
    for (int fd = 3; fd < 4096; fd++)
        if (fd != other)
            close(fd);
    *word(1) = 9;
    CHECK(*word(1) == 9);
    /* nothing takes its place: what kept it open is not left behind */
    for (int fd = 3; fd < 4096; fd++)
        if (fd != other)
            CHECK(dup2(-1, fd) == -1 && errno == EBADF && dup3(-1, fd, 0) == -1);
    *word(1) = 12;
    CHECK(*word(1) == 12);
    /* a child takes every number, and its parent's are as they were */
    pid_t child = vfork();
    if (child == 0) {
        for (int fd = 900; fd < 1100; fd++)
            dup2(0, fd);
        _exit(0);
    }
    CHECK(waitpid(child, NULL, 0) == child);
    *word(1) = 13;
    CHECK(*word(1) == 13);
    CHECK(munmap((void *)(bar + 0x8000), 0x8000) == 0);
    *word(1) = 10;
    CHECK(*word(1) == 10);
    CHECK(munmap((void *)bar, 0x8000) == 0);
    CHECK(bind_device(other) == 0);
    close(other);
    map();
    CHECK(close_range(3, ~0u, 0) == 0);
    *word(1) = 11;
    CHECK(*word(1) == 11);
    puts("closed");
}

/* What the device does not take is a bus error. */
static void bus(void)
{
    int code;
    uint16_t command = 0;
    map();
    catch_faults();
    CHECK(pwrite(device, &command, 2, CONFIG + 4) == 2);
    CHECK(faults(word(0), &code) == 1);
    CHECK(seen.si_signo == SIGBUS && code == BUS_ADRERR);
    CHECK(faults(word(3), &code) == 1 && seen.si_signo == SIGBUS);
    command = 2;
    CHECK(pwrite(device, &command, 2, CONFIG + 4) == 2);
    CHECK(faults(word(0), &code) == 0);
    puts("bus");
}

static volatile uint32_t alarms;

static void alarmed(int number)
{
    alarms++;
    *word(20) = alarms;
    if (alarms % 3 == 0)
        siglongjmp(back, number);
}

/* Timers interrupt stores, and jump away from between them: each store is made once all the same. */
static void alarms_go_off(void)
{
    struct itimerval every = { { 0, 200 }, { 0, 200 } };
    static volatile uint32_t made;
    map();
    *word(21) = 0;
    CHECK(signal(SIGALRM, alarmed) == SIG_DFL);
    /* an alarm may jump before the loop says where to */
    sigsetjmp(back, 1);
    CHECK(setitimer(ITIMER_REAL, &every, NULL) == 0);
    while (alarms < 600) {
        sigset_t alarm, before;
        sigemptyset(&alarm);
        sigaddset(&alarm, SIGALRM);
        sigsetjmp(back, 1);
        *word(22) = made;
        *word(23) += 1;
        sigprocmask(SIG_BLOCK, &alarm, &before);
        __asm__ volatile("lock incl %0" : "+m"(*word(21)));
        made++;
        CHECK(*word(21) == made);
        sigprocmask(SIG_SETMASK, &before, NULL);
    }
    every.it_value.tv_usec = every.it_interval.tv_usec = 0;
    CHECK(setitimer(ITIMER_REAL, &every, NULL) == 0);
    CHECK(*word(20) == alarms);
    puts("alarms");
}

static volatile int go_on = 1;

static void *map_and_unmap(void *argument)
{
    while (go_on) {
        volatile uint32_t *place = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, device, SCRIPT);
        if (place == MAP_FAILED)
            return (void *)1;
        place[(intptr_t)argument] = 0x55;
        if (place[(intptr_t)argument] != 0x55 || munmap((void *)place, 4096))
            return (void *)2;
    }
    return NULL;
}

/* Forks while other threads map and unmap: the child finds its table whole. */
static void forks_of_busy_threads(void)
{
    pthread_t thread[2];
    int status;
    map();
    for (intptr_t index = 0; index < 2; index++)
        CHECK(pthread_create(&thread[index], NULL, map_and_unmap, (void *)(index + 40)) == 0);
    for (uint32_t round = 0; round < 100; round++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            *word(1) = round;
            volatile uint32_t *place = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, device, SCRIPT);
            place[2] = round;
            _exit(munmap((void *)place, 4096) == 0 && *word(2) == round ? 7 : 8);
        }
        CHECK(waitpid(child, &status, 0) == child);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
        CHECK(*word(1) == round);
    }
    go_on = 0;
    for (int index = 0; index < 2; index++) {
        void *result;
        CHECK(pthread_join(thread[index], &result) == 0);
        CHECK(result == NULL);
    }
    puts("busy forks");
}

/* Programs that are executed start anew, and have no descriptor of ours. */
static void execs(void)
{
    int status;
    map();
    *word(1) = 1;
    pid_t child = vfork();
    if (child == 0) {
        execl("/proc/self/exe", "stores", "elsewhere", NULL);
        _exit(9);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    *word(1) = 2;
    CHECK(*word(1) == 2);
    puts("execs");
}

/* What `execs` executes: nothing is mapped, no file of ours is open (they show as sockets), faults are its own. */
static void elsewhere(void)
{
    struct stat it;
    int code;
    for (int fd = 3; fd < 2048; fd++)
        CHECK(fstat(fd, &it) == -1 || !S_ISSOCK(it.st_mode));
    bar = (void *)0x10000;
    catch_faults();
    CHECK(faults(word(0), &code) == 1 && code == SEGV_MAPERR);
}

/* A script, as a driver starts it: the doorbell is seen once each time, before the next load. */
static void doorbells(void)
{
    map();
    for (uint32_t round = 1; round <= 200; round++) {
        *(volatile uint32_t *)(bar + 0x0c) = 1;
        while (*(volatile uint32_t *)(bar + 0x08) != 2)
            ;
        CHECK(*(volatile uint32_t *)(bar + 0x18) == round);
        *(volatile uint32_t *)(bar + 0x0c) = 65;
        CHECK(*(volatile uint32_t *)(bar + 0x10) == 2);
        *(volatile uint32_t *)(bar + 0x10) = 0;
        CHECK(*(volatile uint32_t *)(bar + 0x10) == 0);
    }
    puts("doorbells");
}

/* Ends by a signal. */
static void die(const char *how)
{
    sigset_t set;
    map();
    *word(0) = 1;
    if (!strcmp(how, "null"))
        *(volatile int *)8 = 1;
    if (!strcmp(how, "ignored")) {
        signal(SIGSEGV, SIG_IGN);
        *(volatile int *)8 = 1;
    }
    if (!strcmp(how, "blocked")) {
        signal(SIGSEGV, jump);
        sigemptyset(&set);
        sigaddset(&set, SIGSEGV);
        sigprocmask(SIG_BLOCK, &set, NULL);
        if (sigsetjmp(back, 1) == 0)
            *(volatile int *)8 = 1;
        exit(3);
    }
    if (!strcmp(how, "raised"))
        raise(SIGSEGV);
    if (!strcmp(how, "unknown")) {
        double value = 1;
        __asm__ volatile("fldl %1\n\tfstpl %0" : "=m"(*(volatile double *)word(2)) : "m"(value));
    }
    if (!strcmp(how, "ill"))
        __asm__ volatile("ud2");
    if (!strcmp(how, "bus")) {
        uint16_t command = 0;
        signal(SIGBUS, SIG_IGN);
        CHECK(pwrite(device, &command, 2, CONFIG + 4) == 2);
        *word(0) = 2;
    }
    exit(4);
}

int main(int count, char **words)
{
    static const struct { const char *name; void (*play)(void); } parts[] = {
        { "forms", forms }, { "portal", portal }, { "handlers", handlers }, { "masks", masks },
        { "threads", threads }, { "forks", forks }, { "unmap", unmap }, { "closed", closed },
        { "bus", bus }, { "doorbells", doorbells }, { "alarms", alarms_go_off },
        { "busy-forks", forks_of_busy_threads }, { "execs", execs }, { "scarce", scarce }, { "elsewhere", elsewhere },
    };
    if (count == 3 && !strcmp(words[1], "die"))
        die(words[2]);
    for (size_t index = 0; index < sizeof parts / sizeof *parts; index++)
        if (count == 2 && !strcmp(parts[index].name, words[1])) {
            parts[index].play();
            return 0;
        }
    return 2;
}
