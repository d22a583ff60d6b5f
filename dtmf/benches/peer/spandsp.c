/* Nanoseconds a sample that spandsp's DTMF receiver takes for the audio of the tone benchmark.
 *
 * usage: spandsp FOLDER
 *
 * Prints one line for each of the folder's four files, the best of ten runs. spandsp is LGPL: it is
 * linked into this measurement and into nothing else.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <spandsp.h>

enum { PACKET = 160, REPEATS = 10, MAX_SAMPLES = 8000 * 60 };

static int16_t audio[MAX_SAMPLES];

static void count(void *keys, const char *digits, int length)
{
    (void) digits;
    *(int *) keys += length;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

/* Hears the audio once, and returns the keys. */
static int hear(int samples)
{
    int keys = 0;
    dtmf_rx_state_t *receiver = dtmf_rx_init(NULL, count, &keys);
    for (int at = 0; at < samples; at += PACKET) {
        int rest = samples - at;
        dtmf_rx(receiver, audio + at, rest < PACKET ? rest : PACKET);
    }
    dtmf_rx_free(receiver);
    return keys;
}

static void measure(const char *folder, const char *name)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s.s16le", folder, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        exit(1);
    }
    int samples = (int) fread(audio, sizeof(audio[0]), MAX_SAMPLES, file);
    fclose(file);
    double best = 1e18;
    int keys = 0;
    for (int nth = 0; nth < REPEATS; nth++) {
        double begin = now();
        keys = hear(samples);
        double taken = (now() - begin) / samples;
        best = taken < best ? taken : best;
    }
    printf("%-8s %6.3f ns/sample, %d keys\n", name, best, keys);
}

int main(int count_of_arguments, char **arguments)
{
    const char *names[] = {"keys", "voice", "noise", "silence"};
    if (count_of_arguments != 2) {
        fprintf(stderr, "usage: spandsp FOLDER\n");
        return 2;
    }
    for (int nth = 0; nth < 4; nth++)
        measure(arguments[1], names[nth]);
    return 0;
}
