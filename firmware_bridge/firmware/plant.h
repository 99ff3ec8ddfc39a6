/* Where firmware and body meet: what a board's HAL (or the twin) measures, and what the motors get.
 *
 * One struct in memory, the same for the shared library, the host process and an emulator's
 * file-backed RAM. Each half has one writer and is guarded by a sequence lock: odd while written.
 * A writer that dies half-way leaves it odd; its successor heals it, readers keep their last copy.
 */
#ifndef COMPANION_PLANT_H
#define COMPANION_PLANT_H

#include <stdbool.h>
#include <stdint.h>

#define PLANT_MAGIC 0x544E4C50u /* "PLNT" */
#define PLANT_VERSION 1u
#define PLANT_JOINTS 16

/* Written by the board's HAL or the twin. Joint units are those of the STATE message. */
typedef struct {
    uint32_t imu_seq;     /* one more per IMU sample */
    float accel_m_s2[3];  /* IMU frame: x forward, y left, z up */
    float gyro_rad_s[3];
    int32_t position[PLANT_JOINTS]; /* position joints: their scale; velocity joints: 1e-4 rad, unwrapped */
    int32_t velocity[PLANT_JOINTS]; /* 1e-3 rad/s */
    int16_t current_ma[PLANT_JOINTS];
    uint16_t battery_mv;
    int16_t battery_ma; /* positive: discharging */
    uint16_t range_mm;  /* 0xFFFF: nothing in range */
    uint8_t soc;        /* percent */
    int8_t temperature_c;
    uint8_t cliff;      /* one bit per sensor, 1: no floor */
    uint8_t bumper;     /* one bit per switch, 1: pressed */
    uint8_t stop_input; /* 1: closed, all is well */
    uint8_t pad;
} plant_sensors;

/* Written by the firmware core. */
typedef struct {
    uint32_t tick_count;          /* hardware watchdog: motors lose power when it stands for 20 ms */
    int32_t target[PLANT_JOINTS]; /* counts of the joint's MOTION scale, after all limits */
    int16_t current_limit_ma[PLANT_JOINTS];
    uint8_t enable; /* motor enable line */
    uint8_t led_mode;
    uint8_t led_rgb[3];
    uint8_t brake; /* 1: the wheels' brakes, where a body has them; without enable they fall in by themselves */
    uint8_t pad[2];
} plant_outputs;

typedef struct {
    uint32_t magic;
    uint32_t version;
    uint32_t size;
    uint32_t sensors_lock;
    uint32_t outputs_lock;
    uint32_t pad;
    plant_sensors sensors;
    plant_outputs outputs;
} plant;

uint32_t plant_size(void);
void plant_init(plant *p); /* an inited plant is left as it is */
bool plant_valid(const plant *p);
void plant_write_sensors(plant *p, const plant_sensors *from);
bool plant_read_sensors(const plant *p, plant_sensors *to); /* false: torn or never written */
void plant_write_outputs(plant *p, const plant_outputs *from);
bool plant_read_outputs(const plant *p, plant_outputs *to);

#endif
