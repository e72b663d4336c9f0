#!/bin/sh
# The schedule in Debian's cron: one line of a crontab an entry, each a POST with curl, every minute.
#
# Arguments: `check`, or ADDRESS ENTRIES. Needs root: cron runs in a mount namespace of its own, so that it sees
# none of this machine's crontabs, and this machine sees nothing of its.
set -eu

alone() { unshare --mount --pid --fork --kill-child sh -c "$1" sh "$@"; }

if [ "$1" = check ]; then
    command -v cron curl unshare > /dev/null
    alone 'mount -t tmpfs tmpfs /etc/cron.d'
    printf 'cron %s, curl %s\n' "$(dpkg-query --show --showformat '${Version}' cron)" \
        "$(curl --version | cut -d ' ' -f 2 | head -n 1)"
    exit
fi

exec unshare --mount --pid --fork --kill-child sh -euc '
    mount -t tmpfs tmpfs /run
    mount -t tmpfs tmpfs /etc/cron.d
    mount -t tmpfs tmpfs /var/spool/cron
    mkdir /var/spool/cron/crontabs
    umask 022
    {
        echo "MAILTO=\"\""
        job=0
        while [ "$job" -lt "$2" ]; do
            url="http://$1/api/3/stacks/s/jobs/j$job/run_now"
            echo "* * * * * root curl --silent --output /dev/null --request POST --oauth2-bearer token $url"
            job=$((job + 1))
        done
    } > /run/crontab
    touch /run/nothing
    mount --bind /run/nothing /etc/crontab
    cp /run/crontab /etc/cron.d/entries
    exec cron -f
' sh "$@"
