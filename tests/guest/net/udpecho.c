/* SPDX-License-Identifier: Apache-2.0
 * udpecho PORT, in the guest: each UDP packet goes back to where it came from.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[argc - 1])) };
	int s = socket(AF_INET, SOCK_DGRAM, 0);
	static char bytes[65536];

	if (bind(s, (struct sockaddr *)&a, sizeof(a)))
		return 1;
	for (;;) {
		socklen_t size = sizeof(a);
		ssize_t n = recvfrom(s, bytes, sizeof(bytes), 0, (struct sockaddr *)&a, &size);

		if (n >= 0)
			sendto(s, bytes, (size_t)n, 0, (struct sockaddr *)&a, size);
	}
}
