/* The host's end of the wire, for Python: a byte stream in, the newest sensor record in SI units
 * and a short queue of everything else out. No allocation, no clock. */
#ifndef COMPANION_HOST_H
#define COMPANION_HOST_H

#include "codec.h"

#define HOST_QUEUE 32
#define HOST_NEVER (-(INT64_C(1) << 62)) /* down_best_ns: no frame yet */

/* sensors.py: SENSORS */
typedef struct __attribute__((packed)) {
    int64_t t_ns;
    int64_t imu_t_ns[IMU_SAMPLES];
    float accel_m_s2[IMU_SAMPLES][3];
    float gyro_rad_s[IMU_SAMPLES][3];
    float position_rad[MAX_JOINTS];
    float velocity_rad_s[MAX_JOINTS];
    float current_a[MAX_JOINTS];
    float range_m;
    float battery_v;
    uint8_t mcu_mode, cliff, bumper, stop_ok;
    uint16_t flags, limited;
    uint8_t motion_seq;
    uint8_t pad[5];
} sensor_record;

/* codec.py: MESSAGE */
typedef struct __attribute__((packed)) {
    uint8_t type, seq;
    uint16_t size; /* of the payload */
    uint32_t t_us;
    int64_t rx_ns;
    uint8_t payload[MAX_BODY];
} host_message;

/* codec.py: DECODER, up to and with the queue; no padding up to there */
typedef struct {
    uint64_t batches;     /* STATE frames decoded: the sequence of `sensors` */
    int64_t last_rx_ns;   /* last good frame */
    int64_t down_best_ns; /* largest (MCU time - arrival), skew aside: the tightest bound on the offset */
    uint64_t mcu_us;      /* newest MCU time seen, 64 bits */
    uint64_t bytes, frames, bad, overrun, lost;
    uint64_t base_us; /* clock map: host = base_ns + (mcu - base_us) * (1000 + ppb / 1e6) */
    int64_t base_ns;
    int64_t skew_ppb;
    int64_t down_at_ns; /* arrival of the frame behind down_best_ns */
    uint32_t clocked; /* the map holds; until then arrival stands for sampling */
    uint32_t joints;
    float position_scale[MAX_JOINTS];
    uint32_t queued, queue_full;
    uint16_t ttl_left_ms, age_ms;
    uint8_t refused, last_seq, started, pad;
    sensor_record sensors;
    host_message queue[HOST_QUEUE];
    msg_imu imu; /* waiting for its STATE */
    uint64_t imu_us;
    uint32_t imu_waiting;
    frame_splitter splitter;
} host_decoder;

_Static_assert(offsetof(host_decoder, sensors) == 13 * 8 + 8 + 4 * MAX_JOINTS + 16, "no padding");
_Static_assert(offsetof(host_decoder, queue) ==
                   offsetof(host_decoder, sensors) + sizeof(sensor_record), "no padding");

uint32_t host_size(void);
uint32_t host_feed(host_decoder *d, const uint8_t *data, uint32_t size, int64_t now_ns);
uint32_t host_motion(uint8_t *out, uint8_t seq, uint32_t t_us, uint16_t session_lo, uint16_t ttl_ms,
                     uint16_t mask, const int16_t *target, uint32_t joints);

#endif
