/* SPDX-License-Identifier: Apache-2.0
 * The file server's process: begins, confines itself to the directory, answers requests until it is ended.
 */
#ifndef SHARE_SERVER_H
#define SHARE_SERVER_H

#include "share/share.h"

struct ring;

struct server_begin {
	const struct share_spec *spec;
	struct ring *ring;
	int event, socket;
};

_Noreturn void server_process(const struct server_begin *b);

#endif
