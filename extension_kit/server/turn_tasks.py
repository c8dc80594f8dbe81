"""Turn tasks: functions to run that were collected during one turn of the event loop.

The loop gives up Python's lock between two requests of a turn. A thread that was woken by the first of them would take
the lock each time, and the loop would wait for it.
"""

import asyncio

from extension_kit.events.function_pool import FunctionPool, Task


class TurnTasks:
    """Hands tasks over to the threads of a pool at the end of each turn.

    Args:
        pool: runs the tasks.
        loop: submits them.
    """

    def __init__(self, pool: FunctionPool, loop: asyncio.AbstractEventLoop) -> None:
        self._pool = pool
        self._loop = loop
        self._tasks: list[Task] = []

    def submit(self, task: Task) -> bool:
        """Have a thread run the task; return False if too many wait. Call it in the loop's thread."""
        if not self._pool.has_room(len(self._tasks) + 1):
            return False
        if not self._tasks:
            self._loop.call_soon(self._hand_over)
        self._tasks.append(task)
        return True

    def _hand_over(self) -> None:
        tasks, self._tasks = self._tasks, []
        self._pool.submit_all(tasks)
