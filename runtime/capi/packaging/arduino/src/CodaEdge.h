// What a sketch includes; coda.hpp and coda.h are beside it in the made library.
#ifndef CODA_EDGE_H
#define CODA_EDGE_H
#include "coda.hpp"
#endif
