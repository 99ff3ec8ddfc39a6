#include "smp.h"

#include <string.h>
#include <zcbor_decode.h>
#include <zcbor_encode.h>

#include "nvm.h"
#include "signature.h"
#include "slots.h"

#define HEADER 8
#define ITEMS 16 /* entries a map of ours has at most */

enum { OP_READ = 0, OP_WRITE = 2 };
enum { GROUP_OS = 0, GROUP_IMAGE = 1 };
enum { OS_ECHO = 0, OS_RESET = 5, OS_PARAMETERS = 6 };
enum { IMAGE_STATE = 0, IMAGE_UPLOAD = 1, IMAGE_ERASE = 5 };
/* mcumgr's general return codes */
enum { RC_OK = 0, RC_INVALID = 3, RC_NO_ENTRY = 5, RC_BAD_STATE = 6, RC_NOT_SUPPORTED = 8, RC_CORRUPT = 9, RC_DENIED = 11 };

typedef struct {
    uint8_t op, group_high, group_low, sequence, command;
    const uint8_t *body;
    size_t size;
} request;

typedef struct {
    int rc;
    const char *why;
} outcome;

static const uint32_t SLOTS[2] = {NVM_SLOT_A, NVM_SLOT_B};
static const outcome DONE = {RC_OK, NULL};

static outcome refused(int rc, const char *why) { return (outcome){rc, why}; }

static bool is(const struct zcbor_string *key, const char *name) {
    return key->len == strlen(name) && memcmp(key->value, name, key->len) == 0;
}

/* ── what may stand in a request ─────────────────────────────────────────────────────── */
typedef struct {
    struct zcbor_string text, data, hash, sha;
    uint32_t offset, length, slot;
    bool has_text, has_data, has_hash, has_sha, has_offset, has_length, has_slot;
    bool confirm, force;
} fields;

static bool read_value(zcbor_state_t *s, const struct zcbor_string *key, fields *f) {
    if (is(key, "d")) {
        return f->has_text = zcbor_tstr_decode(s, &f->text);
    }
    if (is(key, "data")) {
        return f->has_data = zcbor_bstr_decode(s, &f->data);
    }
    if (is(key, "sha")) {
        return f->has_sha = zcbor_bstr_decode(s, &f->sha);
    }
    if (is(key, "hash")) {
        return (f->has_hash = zcbor_bstr_decode(s, &f->hash)) || zcbor_nil_expect(s, NULL);
    }
    if (is(key, "off")) {
        return f->has_offset = zcbor_uint32_decode(s, &f->offset);
    }
    if (is(key, "len")) {
        return f->has_length = zcbor_uint32_decode(s, &f->length);
    }
    if (is(key, "slot")) {
        return f->has_slot = zcbor_uint32_decode(s, &f->slot);
    }
    if (is(key, "confirm")) {
        return zcbor_bool_decode(s, &f->confirm);
    }
    return is(key, "force") ? zcbor_bool_decode(s, &f->force) : zcbor_any_skip(s, NULL);
}

static bool read_fields(const request *r, fields *f) {
    memset(f, 0, sizeof *f);
    if (r->size == 0) {
        return true; /* a request without arguments may come without a map */
    }
    ZCBOR_STATE_D(s, 2, r->body, r->size, 1, 0);
    if (!zcbor_map_start_decode(s)) {
        return false;
    }
    while (!zcbor_array_at_end(s)) {
        struct zcbor_string key;
        if (!zcbor_tstr_decode(s, &key) || !read_value(s, &key, f)) {
            return false;
        }
    }
    return zcbor_map_end_decode(s);
}

/* ── replies ─────────────────────────────────────────────────────────────────────────── */
static bool put_key(zcbor_state_t *s, const char *key) { return zcbor_tstr_put_term(s, key, 32); }

static bool put_number(zcbor_state_t *s, const char *key, uint32_t value) {
    return put_key(s, key) && zcbor_uint32_put(s, value);
}

static bool put_flag(zcbor_state_t *s, const char *key, bool value) {
    return put_key(s, key) && zcbor_bool_put(s, value);
}

static bool put_text(zcbor_state_t *s, const char *key, const char *text) {
    return put_key(s, key) && zcbor_tstr_put_term(s, text, 64);
}

static bool put_bytes(zcbor_state_t *s, const char *key, const uint8_t *bytes, size_t size) {
    return put_key(s, key) && zcbor_bstr_encode_ptr(s, (const char *)bytes, size);
}

static size_t put_decimal(char *out, uint32_t value) {
    char digits[10];
    size_t count = 0, used = 0;
    do {
        digits[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    while (count) {
        out[used++] = digits[--count];
    }
    return used;
}

static void version_text(const image_version *v, char *out) {
    const uint32_t parts[] = {v->major, v->minor, v->revision, v->build};
    size_t used = 0;
    for (int i = 0; i < (v->build ? 4 : 3); i++) {
        if (i) {
            out[used++] = '.';
        }
        used += put_decimal(out + used, parts[i]);
    }
    out[used] = 0;
}

static bool put_image(zcbor_state_t *s, const slot_record *r, uint32_t slot, const image_info *info) {
    char version[32];
    version_text(&info->version, version);
    bool active = slot == r->active;
    return zcbor_map_start_encode(s, ITEMS) && put_number(s, "slot", slot) &&
           put_text(s, "version", version) &&
           put_bytes(s, "hash", info->hash, IMAGE_HASH_SIZE) && put_flag(s, "bootable", true) &&
           put_flag(s, "pending", slot == r->pending) &&
           put_flag(s, "confirmed", active && !r->trial) && put_flag(s, "active", active) &&
           put_flag(s, "permanent", slot == r->pending && r->permanent) &&
           zcbor_map_end_encode(s, ITEMS);
}

static bool put_images(zcbor_state_t *s) {
    slot_record r;
    slots_load(&r);
    bool fine = put_key(s, "images") && zcbor_list_start_encode(s, 2);
    for (uint32_t slot = 0; slot < 2; slot++) {
        image_info info;
        if (slots_check(slot, &info) == IMAGE_OK) {
            fine = fine && put_image(s, &r, slot, &info);
        }
    }
    return fine && zcbor_list_end_encode(s, 2);
}

/* ── commands ────────────────────────────────────────────────────────────────────────── */
static outcome on_os(smp_server *server, const smp_state *state, const request *r, const fields *f,
                     zcbor_state_t *s) {
    if (r->command == OS_ECHO && f->has_text) {
        put_key(s, "r");
        zcbor_tstr_encode(s, &f->text);
    } else if (r->command == OS_PARAMETERS && r->op == OP_READ) {
        put_number(s, "buf_size", MAX_SMP);
        put_number(s, "buf_count", 1);
    } else if (r->command == OS_RESET && r->op == OP_WRITE) {
        if (state->driving) {
            return refused(RC_BAD_STATE, "the robot is active: stop it first");
        }
        server->reset_due = true;
    } else {
        return refused(RC_NOT_SUPPORTED, "unknown command");
    }
    return DONE;
}

static outcome begin_upload(smp_server *server, const fields *f) {
    slot_record r;
    slots_load(&r);
    if (!f->has_length || f->length == 0 || f->length > NVM_SLOT_SIZE) {
        return refused(RC_INVALID, "image does not fit a slot");
    }
    bool same = server->uploading && f->has_sha && f->length == server->length &&
                memcmp(f->sha.value, server->sha256, 32) == 0;
    if (same && server->offset > 0) {
        return DONE; /* the link broke meanwhile: it goes on where it was */
    }
    if (r.trial) {
        return refused(RC_BAD_STATE, "the running image is on trial: confirm it or reset first");
    }
    server->uploading = false;
    server->slot = (uint8_t)slots_spare(&r);
    if (!slots_forget(server->slot) || !nvm_erase(SLOTS[server->slot], NVM_SLOT_SIZE)) {
        return refused(RC_CORRUPT, "flash cannot be erased");
    }
    server->uploading = true;
    server->length = f->length;
    server->offset = 0;
    memset(server->sha256, 0, sizeof server->sha256);
    if (f->has_sha) {
        memcpy(server->sha256, f->sha.value, sizeof server->sha256);
    }
    return DONE;
}

static outcome on_upload(smp_server *server, const fields *f, zcbor_state_t *s) {
    if (!f->has_offset || !f->has_data || (f->has_sha && f->sha.len != 32)) {
        return refused(RC_INVALID, "offset or data is missing");
    }
    if (f->offset == 0) {
        outcome begun = begin_upload(server, f);
        if (begun.rc != RC_OK) {
            return begun;
        }
    }
    if (!server->uploading) {
        return refused(RC_BAD_STATE, "no upload has begun");
    }
    if (f->offset == server->offset && f->data.len <= server->length - server->offset) {
        if (!nvm_write(SLOTS[server->slot] + server->offset, f->data.value, (uint32_t)f->data.len)) {
            server->uploading = false;
            return refused(RC_CORRUPT, "flash did not take the data");
        }
        server->offset += (uint32_t)f->data.len;
    }
    put_number(s, "off", server->offset); /* of a chunk out of order: where to go on */
    if (server->offset == server->length) {
        static const uint8_t NONE[32];
        uint8_t found[32];
        server->uploading = false;
        signature_hash(nvm_at(SLOTS[server->slot]), server->length, found);
        if (memcmp(server->sha256, NONE, sizeof NONE) != 0) {
            put_flag(s, "match", memcmp(found, server->sha256, sizeof found) == 0);
        }
    }
    return DONE;
}

static uint32_t slot_of(const fields *f) {
    for (uint32_t slot = 0; slot < 2; slot++) {
        image_info info;
        slots_check(slot, &info);
        if (f->hash.len == IMAGE_HASH_SIZE && info.size &&
            memcmp(info.hash, f->hash.value, IMAGE_HASH_SIZE) == 0) {
            return slot;
        }
    }
    return SLOT_NONE;
}

static outcome verdict(image_verdict v) {
    if (v == IMAGE_OK) {
        return DONE;
    }
    return refused(v == IMAGE_EMPTY ? RC_NO_ENTRY : v == IMAGE_DOWNGRADE ? RC_DENIED : RC_CORRUPT, image_says(v));
}

/* Why the image that was uploaded last is not in the list. */
static outcome not_listed(const slot_record *r) {
    image_info info;
    image_verdict found = slots_check(r->active ^ 1u, &info);
    return found == IMAGE_OK || found == IMAGE_EMPTY ? refused(RC_NO_ENTRY, "no image has that hash") : verdict(found);
}

static outcome on_state_write(const smp_state *state, const fields *f, zcbor_state_t *s) {
    slot_record r;
    slots_load(&r);
    uint32_t slot = f->has_hash ? slot_of(f) : (f->confirm && state->application ? r.active : SLOT_NONE);
    outcome done;
    if (slot == SLOT_NONE) {
        return not_listed(&r);
    }
    if (slot == r.active && state->application) {
        image_info info;
        done = verdict(slots_check(slot, &info));
        if (done.rc == RC_OK && f->confirm) {
            slots_confirm(&info.version);
        }
    } else {
        done = verdict(slots_test(slot, f->confirm, f->force));
    }
    if (done.rc == RC_OK) {
        put_images(s);
    }
    return done;
}

static outcome on_erase(const fields *f) {
    slot_record r;
    slots_load(&r);
    uint32_t slot = f->has_slot ? f->slot : r.active ^ 1u;
    if (slot > 1 || slot == r.active || r.trial) {
        return refused(RC_BAD_STATE, "that slot is in use");
    }
    bool done = slots_forget(slot) && nvm_erase(SLOTS[slot], NVM_SLOT_SIZE);
    return done ? DONE : refused(RC_CORRUPT, "flash cannot be erased");
}

static outcome on_image(smp_server *server, const smp_state *state, const request *r,
                        const fields *f, zcbor_state_t *s) {
    if (state->driving) { /* reading too: checking a signature would hold up the motors' tick */
        return refused(RC_BAD_STATE, "the robot is active: stop it first");
    }
    if (r->command == IMAGE_STATE && r->op == OP_READ) {
        put_images(s);
        return DONE;
    }
    if (r->op != OP_WRITE) {
        return refused(RC_NOT_SUPPORTED, "unknown command");
    }
    switch (r->command) {
    case IMAGE_STATE: return on_state_write(state, f, s);
    case IMAGE_UPLOAD: return on_upload(server, f, s);
    case IMAGE_ERASE: server->uploading = false; return on_erase(f);
    default: return refused(RC_NOT_SUPPORTED, "unknown command");
    }
}

/* Our own group, command 0, read: the board, who serves, and (while nothing drives) what stands in each
 * slot. */
static outcome on_companion(const smp_state *state, const request *r, zcbor_state_t *s) {
    if (r->command != 0 || r->op != OP_READ) {
        return refused(RC_NOT_SUPPORTED, "unknown command");
    }
    slot_record record;
    slots_load(&record);
    put_text(s, "hardware", BOARD_HARDWARE);
    put_bytes(s, "uid", state->uid, 12);
    put_flag(s, "application", state->application);
    put_flag(s, "driving", state->driving);
    put_number(s, "slot", state->slot);
    put_flag(s, "trial", record.trial);
    put_number(s, "schema_crc", SCHEMA_CRC);
    put_number(s, "reset_cause", state->reset_cause);
    put_text(s, "refused", record.refused ? image_says(record.refused) : "");
    put_number(s, "refused_slot", record.refused_slot);
    put_key(s, "verdicts");
    zcbor_list_start_encode(s, 2);
    for (uint32_t slot = 0; slot < 2 && !state->driving; slot++) {
        image_info info;
        zcbor_tstr_put_term(s, image_says(slots_check(slot, &info)), 64);
    }
    zcbor_list_end_encode(s, 2);
    return DONE;
}

static outcome dispatch(smp_server *server, const smp_state *state, const request *r,
                        const fields *f, zcbor_state_t *s) {
    if (r->group_high) {
        return refused(RC_NOT_SUPPORTED, "unknown group");
    }
    switch (r->group_low) {
    case GROUP_OS: return on_os(server, state, r, f, s);
    case GROUP_IMAGE: return on_image(server, state, r, f, s);
    case SMP_GROUP_COMPANION: return on_companion(state, r, s);
    default: return refused(RC_NOT_SUPPORTED, "unknown group");
    }
}

/* The CBOR map of a reply; its size. */
static size_t answer(smp_server *server, const smp_state *state, const request *r) {
    uint8_t *out = server->reply + HEADER;
    fields f;
    outcome done = refused(RC_INVALID, "no CBOR map of ours");
    ZCBOR_STATE_E(s, 4, out, MAX_SMP - HEADER, 1);
    zcbor_map_start_encode(s, ITEMS);
    if (read_fields(r, &f)) {
        done = dispatch(server, state, r, &f, s);
    }
    if (done.rc == RC_OK && zcbor_map_end_encode(s, ITEMS)) {
        return (size_t)(s->payload - out);
    }
    ZCBOR_STATE_E(e, 4, out, MAX_SMP - HEADER, 1);
    zcbor_map_start_encode(e, ITEMS);
    put_number(e, "rc", done.rc ? (uint32_t)done.rc : 1u);
    put_text(e, "rsn", done.why ? done.why : "the reply does not fit");
    zcbor_map_end_encode(e, ITEMS);
    return (size_t)(e->payload - out);
}

size_t smp_handle(smp_server *server, const smp_state *state, const uint8_t *data, size_t size) {
    if (size < HEADER) {
        return 0;
    }
    size_t length = (size_t)data[2] << 8 | data[3];
    uint8_t op = data[0] & 7u;
    if (length != size - HEADER || (op != OP_READ && op != OP_WRITE)) {
        return 0;
    }
    request r = {.op = op, .group_high = data[4], .group_low = data[5], .sequence = data[6],
                 .command = data[7], .body = data + HEADER, .size = length};
    size_t used = answer(server, state, &r);
    uint8_t *h = server->reply;
    h[0] = (uint8_t)((data[0] & 0x18u) | (op + 1u));
    h[1] = 0;
    h[2] = (uint8_t)(used >> 8);
    h[3] = (uint8_t)used;
    memcpy(h + 4, data + 4, 4);
    return HEADER + used;
}
