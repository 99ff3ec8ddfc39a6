/* Hash and signature, both whole from libsodium (built from pinned source, `sources.toml`). */
#ifndef COMPANION_SIGNATURE_H
#define COMPANION_SIGNATURE_H

#include <stdbool.h>
#include <stdint.h>

#define SIGNATURE_SIZE 64

void signature_hash(const uint8_t *data, uint32_t size, uint8_t *sha256);
/* Ed25519 over the 32-byte hash, as imgtool signs. */
bool signature_good(const uint8_t *signature, const uint8_t *sha256, const uint8_t *public_key);

#endif
