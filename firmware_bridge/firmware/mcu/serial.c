/* Two rings between the UART's interrupt and the main loop. */
#include "mcu.h"

#define RX 2048 /* 22 ms at 921600 baud */
#define TX 1024

static volatile uint8_t rx[RX], tx[TX];
static volatile uint32_t rx_in, rx_out, tx_in, tx_out, overruns;

void serial_took(uint8_t byte) {
    if (rx_in - rx_out >= RX) {
        overruns++;
        return;
    }
    rx[rx_in % RX] = byte;
    rx_in++;
}

bool serial_next(uint8_t *byte) {
    if (tx_out == tx_in) {
        return false;
    }
    *byte = tx[tx_out % TX];
    tx_out++;
    return true;
}

size_t serial_read(uint8_t *out, size_t space) {
    size_t used = 0;
    while (used < space && rx_out != rx_in) {
        out[used++] = rx[rx_out % RX];
        rx_out++;
    }
    return used;
}

size_t serial_write(const uint8_t *data, size_t size) {
    size_t used = 0;
    while (used < size && tx_in - tx_out < TX) {
        tx[tx_in % TX] = data[used++];
        tx_in++;
    }
    if (used) {
        mcu_uart_transmit(true);
    }
    return used;
}

uint32_t serial_overruns(void) { return overruns; }

bool serial_idle(void) { return tx_in == tx_out; }
