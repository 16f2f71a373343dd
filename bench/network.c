/* SPDX-License-Identifier: Apache-2.0
 * network ADDRESS PORT: the guest's side of bench/net.sh: TCP in for three seconds, out for three, and answers of one
 * byte, a thousand times. A "result:" line for each.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SECONDS 3.0
#define TURNS 1000

static char block[1 << 18];

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int reach(char **where, char what)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(where[2])) };
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	inet_pton(AF_INET, where[1], &in.sin_addr);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(fd, (struct sockaddr *)&in, sizeof(in)) || write(fd, &what, 1) != 1) {
		perror("connect");
		exit(1);
	}
	return fd;
}

static void stream(char **where, char what)
{
	int fd = reach(where, what);
	double bytes = 0, begin = now(), end;

	do {
		ssize_t n = what == 's' ? read(fd, block, sizeof(block)) : write(fd, block, sizeof(block));

		if (n <= 0) {
			perror("stream");
			exit(1);
		}
		bytes += (double)n;
		end = now();
	} while (end - begin < SECONDS);
	printf("result: %s %.0f MB/s\n", what == 's' ? "down" : "up", bytes / 1e6 / (now() - begin));
	close(fd);
}

static int by_value(const void *a, const void *b)
{
	return *(const double *)a < *(const double *)b ? -1 : 1;
}

static void turns(char **where)
{
	static double took[TURNS];
	int fd = reach(where, 'e');

	for (int i = 0; i < TURNS; i++) {
		double begin = now();

		if (write(fd, "x", 1) != 1 || read(fd, block, 1) != 1)
			exit(1);
		took[i] = now() - begin;
	}
	qsort(took, TURNS, sizeof(*took), by_value);
	printf("result: answer %.0f us, of ten one %.0f\n", took[TURNS / 2] * 1e6, took[TURNS * 9 / 10] * 1e6);
	close(fd);
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 1;
	stream(argv, 's');
	stream(argv, 'r');
	turns(argv);
	return 0;
}
