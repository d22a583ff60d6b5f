/* Nanoseconds a packet of libsrtp2, on 20 ms of G.711 (172 octets), as ../srtp measures ours.
 *
 * Prints one line a measurement, "SUITE protect NS" and "SUITE unprotect NS" (medians over the
 * rounds), and "SUITE wire HEX": the first protected packet, by which the two can be seen to do
 * the same work.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <srtp2/srtp.h>

enum { ROUNDS = 25, PACKETS = 1024, PLAIN_LEN = 172, BUFFER_LEN = 256, SSRC = 1 };

struct suite {
    const char *name;
    void (*set_policy)(srtp_crypto_policy_t *);
};

static const struct suite suites[] = {
    {"AES_CM_128_HMAC_SHA1_80", srtp_crypto_policy_set_rtp_default},
    {"AEAD_AES_128_GCM", srtp_crypto_policy_set_aes_gcm_128_16_auth},
};

/* libsrtp reads headers as words. */
static union {
    unsigned char octets[BUFFER_LEN];
    unsigned int words[BUFFER_LEN / sizeof(unsigned int)];
} buffers[PACKETS];
static int lengths[PACKETS];

static void check(srtp_err_status_t status, const char *doing)
{
    if (status != srtp_err_status_ok) {
        fprintf(stderr, "libsrtp cannot %s: status %d\n", doing, (int)status);
        exit(1);
    }
}

static void fill_plain(void)
{
    for (unsigned int n = 0; n < PACKETS; n++) {
        unsigned int timestamp = 160 * n;
        unsigned char header[12] = {
            0x80, 8, n >> 8, n & 0xff,
            timestamp >> 24, timestamp >> 16 & 0xff, timestamp >> 8 & 0xff, timestamp & 0xff,
            0, 0, 0, SSRC,
        };
        memset(buffers[n].octets, 0xd5, BUFFER_LEN);
        memcpy(buffers[n].octets, header, sizeof header);
        lengths[n] = PLAIN_LEN;
    }
}

static srtp_t session(const struct suite *suite, srtp_ssrc_type_t direction)
{
    unsigned char key[64];
    srtp_policy_t policy;
    srtp_t made;
    for (unsigned int n = 0; n < sizeof key; n++)
        key[n] = (unsigned char)n;
    memset(&policy, 0, sizeof policy);
    suite->set_policy(&policy.rtp);
    suite->set_policy(&policy.rtcp);
    policy.ssrc.type = direction;
    policy.key = key;
    policy.window_size = 128;
    check(srtp_create(&made, &policy), "make a session");
    return made;
}

static double measure(srtp_t srtp, srtp_err_status_t (*work)(srtp_t, void *, int *))
{
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int n = 0; n < PACKETS; n++)
        check(work(srtp, buffers[n].octets, &lengths[n]), "do its work");
    clock_gettime(CLOCK_MONOTONIC, &end);
    return ((end.tv_sec - start.tv_sec) * 1e9 + (end.tv_nsec - start.tv_nsec)) / PACKETS;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *rounds)
{
    qsort(rounds, ROUNDS, sizeof *rounds, by_size);
    return rounds[ROUNDS / 2];
}

static void print_wire(const struct suite *suite)
{
    printf("%s wire ", suite->name);
    for (int n = 0; n < lengths[0]; n++)
        printf("%02x", buffers[0].octets[n]);
    printf("\n");
}

int main(void)
{
    check(srtp_init(), "begin");
    for (unsigned int n = 0; n < sizeof suites / sizeof *suites; n++) {
        double protect[ROUNDS], unprotect[ROUNDS];
        for (int round = 0; round < ROUNDS; round++) {
            srtp_t outbound = session(&suites[n], ssrc_any_outbound);
            srtp_t inbound = session(&suites[n], ssrc_any_inbound);
            fill_plain();
            protect[round] = measure(outbound, srtp_protect);
            if (round == 0)
                print_wire(&suites[n]);
            unprotect[round] = measure(inbound, srtp_unprotect);
            check(srtp_dealloc(outbound), "end a session");
            check(srtp_dealloc(inbound), "end a session");
        }
        printf("%s protect %.0f\n", suites[n].name, median(protect));
        printf("%s unprotect %.0f\n", suites[n].name, median(unprotect));
    }
    check(srtp_shutdown(), "end");
    return 0;
}
