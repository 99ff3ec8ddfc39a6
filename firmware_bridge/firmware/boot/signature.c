#include "signature.h"

#include "crypto_hash_sha256.h"
#include "crypto_sign_ed25519.h"

void signature_hash(const uint8_t *data, uint32_t size, uint8_t *sha256) {
    crypto_hash_sha256_state state;
    crypto_hash_sha256_init(&state);
    crypto_hash_sha256_update(&state, data, size);
    crypto_hash_sha256_final(&state, sha256);
}

bool signature_good(const uint8_t *signature, const uint8_t *sha256, const uint8_t *public_key) {
    return crypto_sign_ed25519_verify_detached(signature, sha256, 32, public_key) == 0;
}
