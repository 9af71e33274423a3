"""Where events come from, and the composition root: settings, topics, sequencer, Faust worker, files, commands."""

from streams.compiled import use_cache

use_cache()
