/*
 * config.c - the life of a configuration: loaded, reloaded, freed
 */
#include "config.h"

#include "base/xalloc.h"
#include "table.h"

#include <stdlib.h>

struct config *config_load(const char *path, config_judge_fn judge,
			   struct config_problems *problems)
{
	struct config *config = xcalloc(1, sizeof(*config));

	if (!config_read_into(config, path, judge, problems))
		config_free(&config);
	return config;
}

void config_free(struct config **config)
{
	if (*config == NULL)
		return;
	for (size_t i = 0; i < option_count; i++)
		option_clear(&options[i], *config);
	free(*config);
	*config = NULL;
}

void config_problems_free(struct config_problems *problems)
{
	for (size_t i = 0; i < problems->count; i++)
		free(problems->items[i].text);
	free(problems->items);
	*problems = (struct config_problems){NULL, 0};
}

void config_reload(struct config *live, struct config *fresh,
		   void (*changed)(const char *path, bool applied, void *arg), void *arg)
{
	for (size_t i = 0; i < option_count; i++) {
		if (option_equal(&options[i], live, fresh))
			continue;
		if (options[i].reloadable)
			option_swap(&options[i], live, fresh);
		changed(options[i].path, options[i].reloadable, arg);
	}
}
