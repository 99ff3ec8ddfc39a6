/* A ring of stamped records in shared memory: one writer, any number of readers, no locks.
 *
 * Sequences count from 1. A reader never blocks the writer; it finds out after its copy whether
 * the record was overwritten meanwhile. The writer may be killed at any instant: the half-written
 * slot was never announced, and the next writer goes on from the last announced record.
 */
#ifndef COMPANION_RING_H
#define COMPANION_RING_H

#include <stdbool.h>
#include <stdint.h>

enum { RING_OK = 1, RING_NOT_YET = 0, RING_OVERWRITTEN = -1 };

uint64_t ring_size(uint32_t record, uint32_t depth);
/* Lays out zeroed memory; an inited ring is only compared. False: made for another record or depth. */
bool ring_init(void *mem, uint32_t record, uint32_t depth);
uint64_t ring_head(const void *mem);
uint64_t ring_write(void *mem, const void *data, int64_t t_ns);
/* Newest record and its stamp; returns its sequence, or last_seq (nothing copied) when not newer. */
uint64_t ring_latest(const void *mem, void *out, int64_t *t_ns, uint64_t last_seq);
int ring_read(const void *mem, uint64_t seq, void *out, int64_t *t_ns);
/* Sleeps until the head differs from last_seq or the time is over; returns the head. */
uint64_t ring_wait(void *mem, uint64_t last_seq, int64_t timeout_us);

#endif
