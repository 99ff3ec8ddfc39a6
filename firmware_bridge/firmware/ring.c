#define _DEFAULT_SOURCE /* syscall() under -std=c11 */
#include "ring.h"

#include <stdatomic.h>
#include <stddef.h>

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#endif

#define RING_MAGIC 0x474E4952u /* "RING" */
#define ATTEMPTS 64

typedef _Atomic uint32_t word;
typedef _Atomic uint64_t wide;

typedef struct {
    word magic;
    uint32_t record;
    uint32_t depth;
    word bell;    /* low half of the head: what sleepers wait on */
    wide head;    /* newest announced sequence */
    word waiters; /* a killed sleeper leaves it too high: costs a system call per write, no more */
    uint32_t pad[9];
} header;

typedef struct {
    wide seq; /* 0 while written */
    wide t_ns;
    wide data[];
} slot;

_Static_assert(sizeof(header) == 64, "slots start on a cache line");

static uint64_t words_of(uint32_t record) { return (record + 7u) / 8u; }
static uint64_t stride_of(uint32_t record) { return sizeof(slot) + 8u * words_of(record); }

static slot *slot_of(const header *h, uint64_t seq) {
    return (slot *)((uintptr_t)(h + 1) + (seq % h->depth) * stride_of(h->record));
}

uint64_t ring_size(uint32_t record, uint32_t depth) {
    return sizeof(header) + depth * stride_of(record);
}

bool ring_init(void *mem, uint32_t record, uint32_t depth) {
    header *h = mem;
    if (atomic_load_explicit(&h->magic, memory_order_acquire) == 0) {
        h->record = record;
        h->depth = depth;
        atomic_store_explicit(&h->magic, RING_MAGIC, memory_order_release);
    }
    return atomic_load_explicit(&h->magic, memory_order_acquire) == RING_MAGIC &&
           h->record == record && h->depth == depth;
}

uint64_t ring_head(const void *mem) {
    return atomic_load_explicit(&((const header *)mem)->head, memory_order_acquire);
}

/* Whole words as relaxed atomics: defined behaviour under a concurrent writer, at memcpy's cost. */
static void copy_in(slot *s, const unsigned char *from, uint32_t bytes) {
    uint32_t whole = bytes / 8u;
    for (uint32_t i = 0; i < whole; i++) {
        uint64_t value;
        __builtin_memcpy(&value, from + 8u * i, 8);
        atomic_store_explicit(&s->data[i], value, memory_order_relaxed);
    }
    if (bytes % 8u) {
        uint64_t value = 0;
        __builtin_memcpy(&value, from + 8u * whole, bytes % 8u);
        atomic_store_explicit(&s->data[whole], value, memory_order_relaxed);
    }
}

static void copy_out(const slot *s, unsigned char *to, uint32_t bytes) {
    uint32_t whole = bytes / 8u;
    for (uint32_t i = 0; i < whole; i++) {
        uint64_t value = atomic_load_explicit(&s->data[i], memory_order_relaxed);
        __builtin_memcpy(to + 8u * i, &value, 8);
    }
    if (bytes % 8u) {
        uint64_t value = atomic_load_explicit(&s->data[whole], memory_order_relaxed);
        __builtin_memcpy(to + 8u * whole, &value, bytes % 8u);
    }
}

static void wake(header *h) {
#if defined(__linux__)
    if (atomic_load_explicit(&h->waiters, memory_order_seq_cst)) {
        syscall(SYS_futex, &h->bell, FUTEX_WAKE, 0x7FFFFFFF, NULL, NULL, 0);
    }
#else
    (void)h;
#endif
}

uint64_t ring_write(void *mem, const void *data, int64_t t_ns) {
    header *h = mem;
    uint64_t seq = atomic_load_explicit(&h->head, memory_order_relaxed) + 1;
    slot *s = slot_of(h, seq);
    atomic_store_explicit(&s->seq, 0, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    atomic_store_explicit(&s->t_ns, (uint64_t)t_ns, memory_order_relaxed);
    copy_in(s, data, h->record);
    atomic_store_explicit(&s->seq, seq, memory_order_release);
    atomic_store_explicit(&h->head, seq, memory_order_release);
    atomic_store_explicit(&h->bell, (uint32_t)seq, memory_order_seq_cst);
    wake(h);
    return seq;
}

int ring_read(const void *mem, uint64_t seq, void *out, int64_t *t_ns) {
    const header *h = mem;
    uint64_t head = ring_head(mem);
    if (seq == 0 || seq > head) {
        return RING_NOT_YET;
    }
    if (head - seq >= h->depth) {
        return RING_OVERWRITTEN;
    }
    const slot *s = slot_of(h, seq);
    if (atomic_load_explicit(&s->seq, memory_order_acquire) != seq) {
        return RING_OVERWRITTEN;
    }
    int64_t stamp = (int64_t)atomic_load_explicit(&s->t_ns, memory_order_relaxed);
    copy_out(s, out, h->record);
    atomic_thread_fence(memory_order_acquire);
    if (atomic_load_explicit(&s->seq, memory_order_relaxed) != seq) {
        return RING_OVERWRITTEN;
    }
    *t_ns = stamp;
    return RING_OK;
}

uint64_t ring_latest(const void *mem, void *out, int64_t *t_ns, uint64_t last_seq) {
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        uint64_t head = ring_head(mem);
        if (head == last_seq || head == 0) {
            return last_seq;
        }
        if (ring_read(mem, head, out, t_ns) == RING_OK) {
            return head;
        }
    }
    return last_seq;
}

uint64_t ring_wait(void *mem, uint64_t last_seq, int64_t timeout_us) {
    header *h = mem;
#if defined(__linux__)
    if (ring_head(mem) == last_seq && timeout_us > 0) {
        struct timespec timeout = {timeout_us / 1000000, (timeout_us % 1000000) * 1000};
        atomic_fetch_add_explicit(&h->waiters, 1, memory_order_seq_cst);
        syscall(SYS_futex, &h->bell, FUTEX_WAIT, (uint32_t)last_seq, &timeout, NULL, 0);
        atomic_fetch_sub_explicit(&h->waiters, 1, memory_order_seq_cst);
    }
#else
    (void)h;
    (void)last_seq;
    (void)timeout_us;
#endif
    return ring_head(mem);
}
