#include "plant.h"

#include <stdatomic.h>
#include <stddef.h>

#define ATTEMPTS 64 /* a live writer needs well under a microsecond; a dead one would never finish */

_Static_assert(sizeof(plant_sensors) % 4 == 0, "copied as words");
_Static_assert(sizeof(plant_outputs) % 4 == 0, "copied as words");

typedef _Atomic uint32_t word;

static void guarded_write(uint32_t *lock_word, void *to, const void *from, size_t bytes) {
    word *lock = (word *)lock_word;
    word *target = to;
    const uint32_t *source = from;
    uint32_t odd = atomic_load_explicit(lock, memory_order_relaxed) | 1u;
    atomic_store_explicit(lock, odd, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    for (size_t i = 0; i < bytes / 4; i++) {
        atomic_store_explicit(&target[i], source[i], memory_order_relaxed);
    }
    atomic_store_explicit(lock, odd + 1u, memory_order_release);
}

static bool guarded_read(const uint32_t *lock_word, const void *from, void *to, size_t bytes) {
    const word *lock = (const word *)lock_word;
    const word *source = from;
    uint32_t *target = to;
    uint32_t copy[sizeof(plant_sensors) / 4];
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        uint32_t before = atomic_load_explicit(lock, memory_order_acquire);
        if (before == 0) {
            return false;
        }
        if (before & 1u) {
            continue;
        }
        for (size_t i = 0; i < bytes / 4; i++) {
            copy[i] = atomic_load_explicit(&source[i], memory_order_relaxed);
        }
        atomic_thread_fence(memory_order_acquire);
        if (atomic_load_explicit(lock, memory_order_relaxed) == before) {
            for (size_t i = 0; i < bytes / 4; i++) {
                target[i] = copy[i];
            }
            return true;
        }
    }
    return false;
}

_Static_assert(sizeof(plant_outputs) <= sizeof(plant_sensors), "the copy buffer holds either half");

uint32_t plant_size(void) { return sizeof(plant); }

bool plant_valid(const plant *p) {
    return p->magic == PLANT_MAGIC && p->version == PLANT_VERSION && p->size == sizeof(plant);
}

void plant_init(plant *p) {
    if (p->magic != 0) {
        return;
    }
    p->version = PLANT_VERSION;
    p->size = sizeof(plant);
    atomic_store_explicit((word *)&p->magic, PLANT_MAGIC, memory_order_release);
}

void plant_write_sensors(plant *p, const plant_sensors *from) {
    guarded_write(&p->sensors_lock, &p->sensors, from, sizeof *from);
}

bool plant_read_sensors(const plant *p, plant_sensors *to) {
    return guarded_read(&p->sensors_lock, &p->sensors, to, sizeof *to);
}

void plant_write_outputs(plant *p, const plant_outputs *from) {
    guarded_write(&p->outputs_lock, &p->outputs, from, sizeof *from);
}

bool plant_read_outputs(const plant *p, plant_outputs *to) {
    return guarded_read(&p->outputs_lock, &p->outputs, to, sizeof *to);
}
