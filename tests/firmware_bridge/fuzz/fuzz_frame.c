/* Framing alone: what was framed comes back, and nothing read from noise is more than it was. */
#include "codec.h"
#include "fuzz.h"

static uint8_t frame[FRAME_SIZE(MAX_SMP)], out[MAX_FRAME];

static void round_trip(const uint8_t *body, size_t size) {
    size_t length = frame_encode(body, size, frame);
    check(length <= FRAME_SIZE(size), "a frame fits into FRAME_SIZE");
    check(memchr(frame, 0, length) == frame + length - 1, "one delimiter, at the end");
    int found = frame_decode(frame, length - 1, out);
    check(size == 0 ? found == -1 : found == (int)size, "the body's length comes back");
    check(found < 0 || memcmp(body, out, size) == 0, "the body comes back");
    frame_splitter splitter = {0};
    for (size_t i = 0; i + 1 < length; i++) {
        check(frame_split(&splitter, frame[i]) == SPLIT_MORE, "no frame before its end");
    }
    check(frame_split(&splitter, 0) == SPLIT_FRAME && splitter.used == length - 1, "one frame at its end");
}

static void noise(const uint8_t *data, size_t size) {
    static frame_splitter splitter; /* what is left over from input to input is noise too */
    for (size_t i = 0; i < size; i++) {
        if (frame_split(&splitter, data[i]) == SPLIT_FRAME) {
            int length = frame_decode(splitter.bytes, splitter.used, out);
            check(length < (int)splitter.used && length <= MAX_SMP, "a body is shorter than its frame");
            frame_taken(&splitter);
        }
        check(splitter.used <= MAX_FRAME, "the splitter holds one frame");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzzed_bytes += size;
    fuzzed_runs++;
    round_trip(data, size < MAX_SMP ? size : MAX_SMP);
    noise(data, size);
    return 0;
}
