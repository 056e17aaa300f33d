"""A moderator that refuses one text, and says which tasks the server is at: a look inside from outside."""

import asyncio
import json
from collections import Counter

QUESTION = "Which tasks are there?"


async def judge(text: str) -> str | None:
    """Count the tasks by the coroutine that each runs."""
    if text != QUESTION:
        return None
    return json.dumps(Counter(getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()))
