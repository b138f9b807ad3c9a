/* SPDX-License-Identifier: ISC */
/*
 * civil.c - numbers and times of the calendar, from text as PostgreSQL prints it and back
 *
 * With DateStyle ISO and IntervalStyle postgres (postgres/settings.c). A letter has JSON's form of
 * some: a "T" stands between date and time.
 */
#include "civil.h"

#include <string.h>

static const int64_t second_us = 1000 * 1000;
static const int64_t day_us = 86400 * INT64_C(1000000);

/* What is left of a text. */
struct rest {
	const char *at, *end;
};

static struct rest rest_of(struct slice text)
{
	return (struct rest){text.data, text.data + text.len};
}

static bool eat(struct rest *rest, char byte)
{
	if (rest->at == rest->end || *rest->at != byte)
		return false;
	rest->at++;
	return true;
}

static bool is_digit(const struct rest *rest)
{
	return rest->at < rest->end && *rest->at >= '0' && *rest->at <= '9';
}

/* Digits, at least one and so many that it cannot overflow. */
static bool digits(struct rest *rest, int64_t *number)
{
	const char *begin = rest->at;

	*number = 0;
	while (is_digit(rest) && rest->at - begin < 18)
		*number = *number * 10 + (*rest->at++ - '0');
	return rest->at > begin && !is_digit(rest);
}

bool civil_integer(struct slice text, int64_t *number)
{
	struct rest rest = rest_of(text);
	bool negative = eat(&rest, '-');
	int64_t value = 0;

	*number = 0;
	if (!is_digit(&rest))
		return false;
	while (is_digit(&rest)) {
		int digit = *rest.at++ - '0';

		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_sub_overflow(value, digit, &value))
			return false;
	}
	if (rest.at != rest.end || (!negative && value == INT64_MIN))
		return false;
	*number = negative ? value : -value;
	return true;
}

/* ---- the calendar ---- */

/* Of a year that begins in March, in which a leap day is the last one. */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
	int64_t from_march = (month + 9) % 12;
	int64_t y = month <= 2 ? year - 1 : year;
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	int64_t of_era = y - era * 400;
	int64_t of_year = (153 * from_march + 2) / 5 + day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

struct civil_day civil_day(int64_t days)
{
	int64_t shifted = days + 719468;
	int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
	int64_t of_era = shifted - era * 146097;
	int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
	int64_t from_march = (5 * of_year + 2) / 153;
	int month = (int)(from_march < 10 ? from_march + 3 : from_march - 9);

	return (struct civil_day){.year = year + era * 400 + (month <= 2),
				  .month = month,
				  .day = (int)(of_year - (153 * from_march + 2) / 5 + 1)};
}

/* ---- dates and times ---- */

static bool date(struct rest *rest, int64_t *year, int64_t *month, int64_t *day)
{
	return digits(rest, year) && *year < 1000 * 1000 && eat(rest, '-') && digits(rest, month) &&
	       *month >= 1 && *month <= 12 && eat(rest, '-') && digits(rest, day) && *day >= 1 &&
	       *day <= 31;
}

/* What is behind the point, six digits of it. */
static bool fraction(struct rest *rest, int64_t *us)
{
	int64_t unit = second_us / 10;

	*us = 0;
	if (!eat(rest, '.'))
		return true;
	if (!is_digit(rest))
		return false;
	for (; is_digit(rest); unit /= 10)
		*us += unit * (*rest->at++ - '0');
	return true;
}

static bool clock_time(struct rest *rest, int64_t *us)
{
	int64_t hours, minutes, seconds, behind;

	if (!digits(rest, &hours) || hours > 24 || !eat(rest, ':') || !digits(rest, &minutes) ||
	    minutes > 59 || !eat(rest, ':') || !digits(rest, &seconds) || seconds > 60 ||
	    !fraction(rest, &behind))
		return false;
	*us = ((hours * 60 + minutes) * 60 + seconds) * second_us + behind;
	return true;
}

/* "+02", "-05:30", "+00:19:32", "Z"; none is UTC. */
static bool offset(struct rest *rest, int64_t *us)
{
	int64_t hours, minutes = 0, seconds = 0;
	bool west = eat(rest, '-');

	*us = 0;
	if (!west && !eat(rest, '+')) {
		eat(rest, 'Z');
		return true;
	}
	if (!digits(rest, &hours) || (eat(rest, ':') && !digits(rest, &minutes)) ||
	    (eat(rest, ':') && !digits(rest, &seconds)))
		return false;
	*us = ((hours * 60 + minutes) * 60 + seconds) * second_us * (west ? -1 : 1);
	return true;
}

/* " BC" or nothing at the end. */
static bool era(struct rest *rest, int64_t *year)
{
	if (rest->end - rest->at == 3 && memcmp(rest->at, " BC", 3) == 0) {
		*year = 1 - *year;
		return true;
	}
	return rest->at == rest->end;
}

bool civil_date(struct slice text, int64_t *days)
{
	struct rest rest = rest_of(text);
	int64_t year, month, day;

	if (!date(&rest, &year, &month, &day) || !era(&rest, &year))
		return false;
	*days = days_of(year, month, day);
	return true;
}

bool civil_time(struct slice text, int64_t *us)
{
	struct rest rest = rest_of(text);
	int64_t time, east;

	if (!clock_time(&rest, &time) || !offset(&rest, &east) || rest.at != rest.end)
		return false;
	*us = east == 0 ? time : (time - east + 2 * day_us) % day_us;
	return true;
}

bool civil_timestamp(struct slice text, int64_t *us)
{
	struct rest rest = rest_of(text);
	int64_t year, month, day, time, east;

	if (!date(&rest, &year, &month, &day) || (!eat(&rest, ' ') && !eat(&rest, 'T')) ||
	    !clock_time(&rest, &time) || !offset(&rest, &east) || !era(&rest, &year))
		return false;
	return !__builtin_mul_overflow(days_of(year, month, day), day_us, us) &&
	       !__builtin_add_overflow(*us, time - east, us);
}

/* ---- intervals ---- */

static bool word(struct rest *rest, const char *text)
{
	size_t len = strlen(text);

	if ((size_t)(rest->end - rest->at) < len || memcmp(rest->at, text, len) != 0)
		return false;
	rest->at += len;
	eat(rest, 's');
	return rest->at == rest->end || *rest->at == ' ';
}

/* [hours]:minutes:seconds, all of one sign. */
static bool interval_time(struct rest rest, struct civil_interval *interval)
{
	int sign = eat(&rest, '-') ? -1 : 1;
	int64_t hours, minutes, seconds, behind;

	eat(&rest, '+');
	if (!digits(&rest, &hours) || !eat(&rest, ':') || !digits(&rest, &minutes) ||
	    !eat(&rest, ':') || !digits(&rest, &seconds) || !fraction(&rest, &behind) ||
	    rest.at != rest.end)
		return false;
	interval->hours = (int)hours * sign;
	interval->minutes = (int)minutes * sign;
	interval->us = (seconds * second_us + behind) * sign;
	return true;
}

/* A number and its unit. */
static bool interval_part(struct rest *rest, struct civil_interval *interval)
{
	int sign = eat(rest, '-') ? -1 : 1;
	int64_t number;

	eat(rest, '+');
	if (!digits(rest, &number) || number > INT32_MAX || !eat(rest, ' '))
		return false;
	if (word(rest, "year"))
		interval->years = (int)number * sign;
	else if (word(rest, "mon"))
		interval->months = (int)number * sign;
	else if (word(rest, "day"))
		interval->days = (int)number * sign;
	else
		return false;
	return true;
}

bool civil_interval(struct slice text, struct civil_interval *interval)
{
	struct rest rest = rest_of(text);

	*interval = (struct civil_interval){0};
	while (rest.at < rest.end) {
		if (interval_time(rest, interval))
			return true;
		if (!interval_part(&rest, interval))
			return false;
		if (rest.at < rest.end && !eat(&rest, ' '))
			return false;
	}
	return text.len > 0;
}
