// Included before each source of Lua, whose own seed is the time in seconds and addresses, which are the same in each run.

#pragma once

unsigned int host_seed(void);

#define luai_makeseed(state) host_seed()
