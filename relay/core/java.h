/* SPDX-License-Identifier: ISC */
/*
 * java.h - numbers as Java prints them
 *
 * Thread: any.
 */
#ifndef OUTBOX_CORE_JAVA_H
#define OUTBOX_CORE_JAVA_H

#include "buffer.h"

/* Double.toString and Float.toString of JDK 19 and later: the shortest digits that are read back as
 * the same number, of at least two; "1.0E20", "0.001", "NaN", "-Infinity". */
void java_double(struct buffer *buffer, double number);
void java_float(struct buffer *buffer, float number);

/* BigDecimal.toString of a decimal number as PostgreSQL prints it: "1.10", "1E-8". */
void java_decimal(struct buffer *buffer, struct slice text);

/* BigDecimal.unscaledValue().toByteArray(): what the number is without its point, in the fewest
 * bytes of two's complement, the highest first. scale: the digits behind the point. False if the
 * text is no number, as "NaN". */
bool java_unscaled(struct buffer *bytes, struct slice text, int *scale);

#endif
