/* A firmware image in the MCUboot format, and whether this board may run it.
 *
 * Accepted is exactly what `companion firmware build` makes: a RAM-load header, the body, a protected
 * TLV with the hardware id, then SHA-256, hash of the public key and Ed25519 signature, each once.
 * Anything more, less or else is refused by name. Format: MCUboot design documentation, "Image format".
 */
#ifndef COMPANION_IMAGE_H
#define COMPANION_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IMAGE_HEADER_SIZE 512
#define IMAGE_HASH_SIZE 32

typedef enum {
    IMAGE_OK,
    IMAGE_EMPTY,
    IMAGE_BAD_HEADER,
    IMAGE_WRONG_ADDRESS,
    IMAGE_TRUNCATED,
    IMAGE_BAD_TRAILER,
    IMAGE_WRONG_HARDWARE,
    IMAGE_BAD_HASH,
    IMAGE_WRONG_KEY,
    IMAGE_BAD_SIGNATURE,
    IMAGE_DOWNGRADE,
    IMAGE_NOT_CONFIRMED,
    IMAGE_VERDICTS
} image_verdict;

typedef struct {
    uint8_t major, minor;
    uint16_t revision;
    uint32_t build;
} image_version;

typedef struct {
    image_verdict verdict;
    image_version version;
    const uint8_t *body; /* what runs */
    uint32_t size;
    uint8_t hash[IMAGE_HASH_SIZE];
} image_info;

image_verdict image_check(const uint8_t *slot, uint32_t slot_size, image_info *out);
const char *image_says(image_verdict verdict);
/* Negative, zero, positive as a is older, same, newer. The build number counts. */
int image_compare(const image_version *a, const image_version *b);

#endif
