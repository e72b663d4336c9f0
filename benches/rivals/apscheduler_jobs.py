"""The schedule in APScheduler: one job an entry on asyncio's loop, each a POST with aiohttp.

Arguments: `check`, or ADDRESS ENTRIES CRON, with six cron fields, the second first, in UTC.
"""

import asyncio
import sys
from importlib.metadata import version

import aiohttp
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger

IN_FLIGHT = 256


async def main(address, entries, cron):
    second, minute, hour, day, month, day_of_week = cron.split()
    connector = aiohttp.TCPConnector(limit=IN_FLIGHT)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def run_now(job):
            url = f"http://{address}/api/3/stacks/s/jobs/j{job}/run_now"
            async with session.post(url, headers={"authorization": "Bearer token"}) as answer:
                await answer.read()

        # Without a grace time nothing counts as a misfire, however late it is.
        scheduler = AsyncIOScheduler(timezone="UTC", job_defaults={"misfire_grace_time": None})
        for job in range(entries):
            trigger = CronTrigger(
                second=second, minute=minute, hour=hour, day=day, month=month, day_of_week=day_of_week, timezone="UTC"
            )
            scheduler.add_job(run_now, trigger, args=[job])
        scheduler.start()
        await asyncio.Event().wait()


if sys.argv[1] == "check":
    print(f"APScheduler {version('apscheduler')}, aiohttp {version('aiohttp')}, Python {sys.version.split()[0]}")
else:
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
