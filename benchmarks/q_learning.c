/* Q-learning on slippery FrozenLake 4x4 as one would write it in C: the yardstick for the kernels.
 *
 * The same table, update, schedules, tie-breaking, time limit and generator as engine/tabular, one
 * agent, no recording.
 *
 *     q_learning STEPS SEED < table     (per state and action: K times "next reward terminal cumulative")
 *
 * Prints the seconds the loop took and the learned table, row by row. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { S = 16, A = 4, K = 3, MAX_STEPS = 100 };

static int next_state[S][A][K], terminal[S][A][K];
static double reward[S][A][K], cumulative[S][A][K], q[S][A];
static uint64_t r[4];

static inline uint64_t rotl(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

static inline double uniform(void) { /* xoshiro256++ */
    uint64_t result = rotl(r[0] + r[3], 23) + r[0], t = r[1] << 17;
    r[2] ^= r[0]; r[3] ^= r[1]; r[1] ^= r[2]; r[0] ^= r[3]; r[2] ^= t; r[3] = rotl(r[3], 45);
    return (double)(result >> 11) * (1.0 / 9007199254740992.0);
}

static inline int choose(const double *values, double epsilon) {
    double u = uniform();
    if (u < epsilon) return (int)(u / epsilon * A);
    int best = 0, ties = 1;
    for (int a = 1; a < A; a++) {
        if (values[a] > values[best]) { best = a; ties = 1; }
        else if (values[a] == values[best]) ties++;
    }
    if (ties == 1) return best;
    int left = (int)(uniform() * ties);
    double top = values[best];
    for (int a = 0; a < A; a++) if (values[a] == top && left-- == 0) return a;
    return best;
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    long steps = atol(argv[1]);
    uint64_t z = (uint64_t)atol(argv[2]);
    for (int i = 0; i < 4; i++) { /* splitmix64 */
        uint64_t x = z += 0x9e3779b97f4a7c15ULL;
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
        r[i] = x ^ (x >> 31);
    }
    for (int s = 0; s < S; s++) for (int a = 0; a < A; a++) for (int k = 0; k < K; k++)
        if (scanf("%d %lf %d %lf", &next_state[s][a][k], &reward[s][a][k], &terminal[s][a][k],
                  &cumulative[s][a][k]) != 4) return 2;
    const double gamma = 0.99, alpha0 = 0.2, alpha1 = 0.005, epsilon0 = 1.0, epsilon1 = 0.2;
    const double alpha_steps = 400000, epsilon_steps = 100000;
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    int s = 0, t = 0;
    for (long n = 0; n < steps; n++) {
        double epsilon = n >= epsilon_steps ? epsilon1
            : epsilon0 + (epsilon1 - epsilon0) * (n / epsilon_steps);
        double alpha = n >= alpha_steps ? alpha1
            : alpha0 * exp(n / alpha_steps * log(alpha1 / alpha0));
        int a = choose(q[s], epsilon), k = 0;
        if (cumulative[s][a][0] < 1.0) {
            double u = uniform();
            while (k < K - 1 && u >= cumulative[s][a][k]) k++;
        }
        int s2 = next_state[s][a][k], end = terminal[s][a][k];
        double future = 0.0;
        if (!end) {
            future = q[s2][0];
            for (int b = 1; b < A; b++) if (q[s2][b] > future) future = q[s2][b];
        }
        q[s][a] += alpha * (reward[s][a][k] + gamma * future - q[s][a]);
        s = s2;
        if (end || ++t >= MAX_STEPS) { s = 0; t = 0; }
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    printf("%.9f\n", (to.tv_sec - from.tv_sec) + 1e-9 * (to.tv_nsec - from.tv_nsec));
    for (s = 0; s < S; s++) printf("%.17g %.17g %.17g %.17g\n", q[s][0], q[s][1], q[s][2], q[s][3]);
    return 0;
}
