#include "host.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

uint32_t host_size(void) { return sizeof(host_decoder); }

/* 64-bit MCU time of a 32-bit stamp: the nearest to the newest one seen. */
static uint64_t widen(const host_decoder *d, uint32_t t_us) {
    return d->mcu_us + (uint64_t)(int64_t)(int32_t)(t_us - (uint32_t)d->mcu_us);
}

static int64_t host_time(const host_decoder *d, uint64_t mcu_us) {
    int64_t us = (int64_t)(mcu_us - d->base_us);
    return d->base_ns + us * 1000 + us * d->skew_ppb / 1000000;
}

static void take_imu(host_decoder *d, const uint8_t *payload, size_t size, uint32_t t_us) {
    if (size != sizeof(msg_imu) || payload[0] != IMU_SAMPLES) {
        return; /* the first batch of a session may be short */
    }
    memcpy(&d->imu, payload, size);
    d->imu_us = widen(d, t_us);
    d->imu_waiting = 1;
}

static void fill_imu(host_decoder *d) {
    sensor_record *s = &d->sensors;
    for (int i = 0; i < IMU_SAMPLES; i++) {
        const imu_item *item = &d->imu.item[i];
        s->imu_t_ns[i] = host_time(d, d->imu_us + item->dt_us);
        for (int axis = 0; axis < 3; axis++) {
            s->accel_m_s2[i][axis] = (float)item->accel[axis] * IMU_ACCEL_SCALE;
            s->gyro_rad_s[i][axis] = (float)item->gyro[axis] * IMU_GYRO_SCALE;
        }
    }
    d->imu_waiting = 0;
}

static void take_state(host_decoder *d, const uint8_t *payload, size_t size, uint32_t t_us,
                       int64_t now_ns) {
    if (size != STATE_FIXED + d->joints * sizeof(state_item)) {
        d->bad++;
        return;
    }
    msg_state m;
    memcpy(&m, payload, size);
    uint64_t mcu_us = widen(d, t_us);
    if (!d->clocked) {
        d->base_us = mcu_us;
        d->base_ns = now_ns;
    }
    sensor_record *s = &d->sensors;
    s->t_ns = host_time(d, mcu_us);
    if (d->imu_waiting) {
        fill_imu(d);
    }
    for (uint32_t j = 0; j < d->joints; j++) {
        s->position_rad[j] = (float)m.item[j].position * d->position_scale[j];
        s->velocity_rad_s[j] = (float)m.item[j].velocity * STATE_VELOCITY_SCALE;
        s->current_a[j] = (float)m.item[j].current * STATE_CURRENT_SCALE;
    }
    s->range_m = m.range_mm == 0xFFFF ? INFINITY : (float)m.range_mm * STATE_RANGE_MM_SCALE;
    s->mcu_mode = m.mode;
    s->cliff = m.cliff;
    s->bumper = m.bumper;
    s->stop_ok = m.stop_ok;
    s->flags = m.flags;
    s->limited = m.limited;
    s->motion_seq = m.motion_seq;
    d->refused = m.refused;
    d->ttl_left_ms = m.ttl_left_ms;
    d->age_ms = m.age_ms;
    d->batches++;
}

static void enqueue(host_decoder *d, const uint8_t *body, size_t size, int64_t now_ns) {
    if (d->queued >= HOST_QUEUE) {
        d->queue_full++;
        return;
    }
    host_message *q = &d->queue[d->queued++];
    q->type = body[0];
    q->seq = body[1];
    memcpy(&q->t_us, body + 2, 4);
    q->rx_ns = now_ns;
    q->size = (uint16_t)(size - HEADER_SIZE);
    memcpy(q->payload, body + HEADER_SIZE, size - HEADER_SIZE);
}

static void take_time(host_decoder *d, uint32_t t_us, int64_t now_ns) {
    uint64_t mcu_us = widen(d, t_us);
    int64_t bound = (int64_t)mcu_us * 1000 - now_ns;
    if ((int64_t)(mcu_us - d->mcu_us) > 0) {
        d->mcu_us = mcu_us;
    }
    /* With a clock that runs 1 % fast the latest frame would always look quickest. */
    bool first = d->down_best_ns == HOST_NEVER;
    int64_t drift = first ? 0 : (now_ns - d->down_at_ns) / 1000 * -d->skew_ppb / 1000000;
    if (first || bound - d->down_best_ns > drift) {
        d->down_best_ns = bound;
        d->down_at_ns = now_ns;
    }
}

static void take(host_decoder *d, const uint8_t *body, size_t size, int64_t now_ns) {
    uint32_t t_us;
    memcpy(&t_us, body + 2, 4);
    if (d->started && body[1] != (uint8_t)(d->last_seq + 1)) {
        d->lost += (uint8_t)(body[1] - d->last_seq - 1);
    }
    d->started = 1;
    d->last_seq = body[1];
    d->frames++;
    d->last_rx_ns = now_ns;
    if (d->mcu_us == 0) {
        d->mcu_us = (UINT64_C(1) << 32) + t_us; /* a provisional high half, until SYNC brings it */
    }
    take_time(d, t_us, now_ns);
    if (body[0] == MSG_IMU) {
        take_imu(d, body + HEADER_SIZE, size - HEADER_SIZE, t_us);
    } else if (body[0] == MSG_STATE) {
        take_state(d, body + HEADER_SIZE, size - HEADER_SIZE, t_us, now_ns);
    } else {
        enqueue(d, body, size, now_ns);
    }
}

uint32_t host_feed(host_decoder *d, const uint8_t *data, uint32_t size, int64_t now_ns) {
    uint8_t body[MAX_FRAME];
    d->bytes += size;
    for (uint32_t i = 0; i < size; i++) {
        split_result result = frame_split(&d->splitter, data[i]);
        if (result == SPLIT_OVERRUN) {
            d->overrun++;
        }
        if (result != SPLIT_FRAME) {
            continue;
        }
        int length = frame_decode(d->splitter.bytes, d->splitter.used, body);
        frame_taken(&d->splitter);
        if (length < HEADER_SIZE || length > MAX_BODY || body[0] < SMP_LIMIT) {
            d->bad++;
        } else {
            take(d, body, (size_t)length, now_ns);
        }
    }
    return d->queued;
}

uint32_t host_motion(uint8_t *out, uint8_t seq, uint32_t t_us, uint16_t session_lo, uint16_t ttl_ms,
                     uint16_t mask, const int16_t *target, uint32_t joints) {
    uint8_t body[MAX_BODY];
    msg_motion m = {.session_lo = session_lo, .ttl_ms = ttl_ms, .mask = mask};
    for (uint32_t j = 0; j < joints && j < MAX_JOINTS; j++) {
        m.item[j].target = target[j];
    }
    size_t size = MOTION_FIXED + joints * sizeof(motion_item);
    body[0] = MSG_MOTION;
    body[1] = seq;
    memcpy(body + 2, &t_us, 4);
    memcpy(body + HEADER_SIZE, &m, size);
    return (uint32_t)frame_encode(body, HEADER_SIZE + size, out);
}
