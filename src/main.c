/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/cli.h"

/* A standard descriptor that came closed is filled, so that no file of ours ever takes its number and then a guest's
 * console output. */
static int fill_standard_fds(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
			return -1;
	return 0;
}

int main(int argc, char **argv)
{
	int status;

	if (fill_standard_fds())
		return STATUS_FAILURE;
	status = cli_main(argc, argv);
	if (fflush(stdout) || ferror(stdout)) {
		log_msg(LOG_ERROR, "cannot write to standard output: %s", strerror(errno));
		return STATUS_FAILURE;
	}
	return status;
}
