#include "codec.h"

#include <stdbool.h>

#include "bytes.h"

/* 16 entries: half-byte steps cost 64 bytes of flash; a 160-byte period takes about a microsecond. */
static const uint16_t CRC_TABLE[16] = {
    0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50A5, 0x60C6, 0x70E7,
    0x8108, 0x9129, 0xA14A, 0xB16B, 0xC18C, 0xD1AD, 0xE1CE, 0xF1EF,
};

uint16_t crc16_xmodem(const uint8_t *data, size_t size) {
    uint16_t crc = 0;
    for (size_t i = 0; i < size; i++) {
        crc = (uint16_t)((uint16_t)(crc << 4) ^ CRC_TABLE[(crc >> 12) ^ (data[i] >> 4)]);
        crc = (uint16_t)((uint16_t)(crc << 4) ^ CRC_TABLE[(crc >> 12) ^ (data[i] & 15)]);
    }
    return crc;
}

size_t frame_encode(const uint8_t *body, size_t size, uint8_t *out) {
    uint16_t crc = crc16_xmodem(body, size);
    size_t code_at = 0;
    size_t used = 1;
    for (size_t i = 0; i < size + 2; i++) {
        uint8_t byte = i < size ? body[i] : (uint8_t)(i == size ? crc >> 8 : crc & 0xFF);
        if (byte != 0) {
            out[used++] = byte;
        }
        bool full = used - code_at == 255 && i < size + 1;
        if (byte == 0 || full) {
            out[code_at] = (uint8_t)(used - code_at);
            code_at = used++;
        }
    }
    out[code_at] = (uint8_t)(used - code_at);
    out[used++] = 0;
    return used;
}

int frame_decode(const uint8_t *frame, size_t size, uint8_t *out) {
    size_t used = 0;
    size_t at = 0;
    while (at < size) {
        uint8_t code = frame[at++];
        if (code == 0 || at + code - 1 > size) {
            return -1;
        }
        memcpy(out + used, frame + at, code - 1u);
        used += code - 1u;
        at += code - 1u;
        if (code != 0xFF && at < size) {
            out[used++] = 0;
        }
    }
    if (used < 3 || used > MAX_SMP + 2) {
        return -1;
    }
    uint16_t crc = (uint16_t)(out[used - 2] << 8 | out[used - 1]);
    return crc16_xmodem(out, used - 2) == crc ? (int)(used - 2) : -1;
}

split_result frame_split(frame_splitter *splitter, uint8_t byte) {
    if (byte != 0) {
        if (splitter->used >= MAX_FRAME) {
            splitter->overrun = 1;
        } else {
            splitter->bytes[splitter->used++] = byte;
        }
        return SPLIT_MORE;
    }
    if (splitter->overrun) {
        frame_taken(splitter);
        return SPLIT_OVERRUN;
    }
    return splitter->used ? SPLIT_FRAME : SPLIT_MORE;
}

void frame_taken(frame_splitter *splitter) {
    splitter->used = 0;
    splitter->overrun = 0;
}
