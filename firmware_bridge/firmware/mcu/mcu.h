/* What a port of a chip gives; the rest of loader and application is the same on every board. */
#ifndef COMPANION_MCU_H
#define COMPANION_MCU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "board_gen.h"
#include "plant.h"
#include "protocol_gen.h"

#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))

/* Clocks, 1 kHz wake-up, UART, watchdog; for an application also the body's pins. Returns what caused
 * this boot (RESET_CAUSE_*), as far as the chip knows it. */
uint8_t mcu_start(bool application);
uint32_t mcu_counter(void); /* free-running microseconds: never counted ticks, which a stalled CPU loses */
void mcu_feed(void);        /* the hardware watchdog */
void mcu_uid(uint8_t *uid); /* 12 bytes */

/* The UART as its interrupt sees it. */
void mcu_uart_transmit(bool on); /* ask for serial_next() while the line takes bytes */

/* Body: sensors into the plant, outputs to the motors. On an emulated board the twin does both. */
plant *mcu_plant(void);
void mcu_sense(plant *p, uint64_t now_us);
void mcu_drive(const plant *p);

/* start.c: what every Cortex-M does the same way. */
uint64_t mcu_us(void); /* asked at least once per wrap of the counter, 71 minutes */
void mcu_wait(void);   /* until an interrupt */
_Noreturn void mcu_reset(void);

/* serial.c, called by the UART's interrupt. */
void serial_took(uint8_t byte);
bool serial_next(uint8_t *byte); /* false: nothing left to send */

/* serial.c, called by loader and application. */
size_t serial_read(uint8_t *out, size_t space);
size_t serial_write(const uint8_t *data, size_t size); /* what it took */
uint32_t serial_overruns(void);
bool serial_idle(void); /* everything is on the wire */

static inline uint32_t mcu_lock(void) {
    uint32_t mask;
    __asm volatile("mrs %0, primask\n\tcpsid i" : "=r"(mask)::"memory");
    return mask;
}

static inline void mcu_unlock(uint32_t mask) { __asm volatile("msr primask, %0" ::"r"(mask) : "memory"); }

#endif
