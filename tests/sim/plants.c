/*
 * plants.c - the planted errors, and what finds each
 */
#include "sim.h"

const struct plant_entry plants[PLANTS] = {
    [PLANT_NONE] = {"none", ""},
    [PLANT_ACKS_TOO_SOON] = {"settle-before-acks", "takes an event from the outbox unpublished"},
    [PLANT_CLAIMS_ABOVE_LAST] = {"claims-above-last-id", "reorders a key"},
    [PLANT_NO_WRITERS] = {"floor-without-horizon", "sleeps on a row"},
    [PLANT_DRAWN_TOO_LATE] = {"ids-read-after-writers", "sleeps on a row"},
    [PLANT_DIRTY_READ] = {"dirty-read", "publishes what was not committed"},
    [PLANT_UNORDERED_CLAIM] = {"claim-without-order", "reorders a key"},
    [PLANT_RECOVER_SKIPPED] = {"recover-skipped", "repeats without a cause"},
    [PLANT_RECOVER_BY_ID] = {"recover-by-id-only", "takes an event from the outbox unpublished"},
    [PLANT_ACKS_FORGOTTEN] = {"acks-forgotten-on-loss", "repeats without a cause"},
    [PLANT_ASIDE_DROPPED] = {"rejected-dropped", "takes an event from the outbox unpublished"},
    [PLANT_COMMIT_UNDONE] = {"commit-undone", "repeats without a cause"},
    [PLANT_DEBT_FORGOTTEN] = {"lazy-commit-forgotten", "repeats without a cause"},
    [PLANT_WITHDRAW_COMMITS] = {"withdraw-commits", "takes an event from the outbox unpublished"},
    [PLANT_LOCK_IGNORED] = {"shard-lock-ignored", "reorders a key"},
    [PLANT_PARTITION_SWAPS] = {"reorder-within-key", "reorders a key"},
    [PLANT_NO_GAPLESS] = {"gap-in-partition", "reorders a key"},
    [PLANT_POISON_DELIVERED] = {"reject-as-delivered",
				"takes an event from the outbox unpublished"},
    [PLANT_RETURNED_TOO_SOON] = {"returned-too-soon", "repeats without a cause"},
    [PLANT_NO_STALL] = {"no-stall-timer", "holds a transaction open"},
    [PLANT_BELL_LATE] = {"bell-armed-after-look", "sleeps on a row"},
    [PLANT_RINGS_LOST] = {"rings-lost", "sleeps on a row"},
    [PLANT_SLEEPS_ON] = {"timer-too-long", "sleeps on a row"},
    [PLANT_STORM] = {"timer-too-short", "looks too often"},
    [PLANT_KEY_NOT_HELD] = {"held-key-not-held", "reorders a key"},
    [PLANT_PASSED_OVER] = {"floor-past-a-passed-row", "sleeps on a row"},
};
