/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_AGENT_IMAGE_H
#define CLI_AGENT_IMAGE_H

#include "base/base.h"

/* The agent (src/agent), a static program, as it was built with doppel. */
const void *agent_image(size_t *len);

#endif
