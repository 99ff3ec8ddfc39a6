/* Framing: COBS( body | CRC-16/XMODEM big-endian ) 00; one source for both ends of the wire. */
#ifndef COMPANION_CODEC_H
#define COMPANION_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "protocol_gen.h"

/* The longest frame is SMP's: body and CRC, a COBS code per 254 bytes and one, the delimiter. Our own
 * messages stay under MAX_BODY. */
#define FRAME_SIZE(body) ((body) + 2 + ((body) + 2) / 254 + 1 + 1)
#define MAX_FRAME FRAME_SIZE(MAX_SMP)

uint16_t crc16_xmodem(const uint8_t *data, size_t size);
/* Frame of a body of at most MAX_SMP bytes into FRAME_SIZE(size); returns its length with the delimiter. */
size_t frame_encode(const uint8_t *body, size_t size, uint8_t *out);
/* Body of a frame (without its delimiter); `out` holds MAX_FRAME. Negative: broken. */
int frame_decode(const uint8_t *frame, size_t size, uint8_t *out);

/* Cuts a byte stream into frames. */
typedef struct {
    uint32_t used;
    uint32_t overrun; /* the frame being read is too long: skip to its end */
    uint8_t bytes[MAX_FRAME];
} frame_splitter;

typedef enum { SPLIT_MORE, SPLIT_FRAME, SPLIT_OVERRUN } split_result;

/* Takes one byte; SPLIT_FRAME: `bytes`, `used` hold a frame; call frame_taken() after use. */
split_result frame_split(frame_splitter *splitter, uint8_t byte);
void frame_taken(frame_splitter *splitter);

#endif
