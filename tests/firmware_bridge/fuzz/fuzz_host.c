/* The host's decoder: raw noise and true frames of any type, size and content, in any pieces. */
#include "fuzz.h"
#include "host.h"

static void feed(host_decoder *d, const uint8_t *data, size_t size, int64_t now_ns) {
    uint32_t queued = host_feed(d, data, (uint32_t)size, now_ns);
    check(queued == d->queued && queued <= HOST_QUEUE, "the queue is bounded");
    for (uint32_t i = 0; i < queued; i++) {
        check(d->queue[i].size <= MAX_BODY - HEADER_SIZE, "a payload fits its message");
    }
    check(d->splitter.used <= MAX_FRAME, "the splitter holds one frame");
}

static void framed(host_decoder *d, input *in, int64_t now_ns, int fit) {
    static const uint8_t TYPES[] = {MSG_HELLO_ACK, MSG_SYNC_RSP, MSG_IMU, MSG_STATE, MSG_POWER,
                                    MSG_FAULT, MSG_HEALTH, MSG_ACK, MSG_LOG, MSG_PARAM};
    uint8_t body[MAX_SMP], frame[FRAME_SIZE(MAX_SMP)];
    size_t size = byte(in);
    if (fit) { /* a message of the right size */
        body[0] = TYPES[size % sizeof TYPES];
        size = body[0] == MSG_IMU ? sizeof(msg_imu) : body[0] == MSG_STATE
             ? STATE_FIXED + d->joints * sizeof(state_item) : 16 + size % 64;
        fill(in, body + 1, HEADER_SIZE - 1 + size);
        size += HEADER_SIZE;
        if (body[0] == MSG_IMU) {
            body[HEADER_SIZE] = IMU_SAMPLES;
        }
    } else {
        size = size * 4 + 1;
        fill(in, body, size);
    }
    feed(d, frame, frame_encode(body, size, frame), now_ns);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static host_decoder d;
    fuzzed_bytes += size;
    fuzzed_runs++;
    input in = {data, size};
    memset(&d, 0, sizeof d);
    d.joints = byte(&in) % (MAX_JOINTS + 1);
    d.clocked = d.joints & 1;
    d.skew_ppb = 5000;
    int64_t now_ns = 1000000;
    while (in.left) {
        uint8_t op = byte(&in);
        now_ns += op * 100000;
        if (op % 4 == 0) {
            d.queued = 0;
        } else if (op % 4 == 1) {
            size_t length = op / 4u;
            const uint8_t *noise = bytes(&in, &length);
            feed(&d, noise, length, now_ns);
        } else {
            framed(&d, &in, now_ns, op % 4 == 2);
        }
    }
    return 0;
}
