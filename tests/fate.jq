# What each occurrence came to, from the JSON log and nothing else:
#     jq -Rrn -f fate.jq LOG...
# prints entry, scheduled_at, state and action_id of each, tab-separated. The last word on an occurrence counts.
# A line that a kill cut short is passed over.
def state: {
  "action.started": "started", "action.unfinished": "started",
  "action.finished": (if .action_finished_success == true then "finished" else "failed" end),
  "occurrence.rejected": "rejected", "occurrence.missed": "missed",
  "occurrence.skipped": "skipped", "occurrence.unknown": "unknown"
}[.event];
reduce (inputs | fromjson? | select(state)) as $line ({};
  .[[$line.entry, $line.scheduled_at] | @tsv] = [($line | state), $line.action_id // "-"])
| to_entries[] | [.key, .value[]] | join("\t")
