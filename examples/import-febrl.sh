#!/bin/sh
# Posts a file of person records through the bulk route of a running server, 1,000 a request:
#   examples/import-febrl.sh ../shared/data/febrl-dataset2.csv
# URL, USERNAME and PASSWORD default to the demo's. The records' id becomes the lead's external id, so that posting the
# file again updates the same leads.
set -eu
FILE=${1:?say which CSV file}
URL=${URL:-http://127.0.0.1:8080}
TOKEN=$(curl -fsS "$URL/api/auth/login" -H 'Content-Type: application/json' \
	-d "{\"username\":\"${USERNAME:-admin}\",\"password\":\"${PASSWORD:-admin123}\"}" | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
post() { curl -sS "$URL$1" -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' --data-binary @-; }

for field in state postcode born; do
	echo "{\"key\":\"$field\",\"type\":\"text\"}" | post /api/fields >/dev/null # one that exists is refused, which is fine
done
PARTS=$(mktemp -d)
trap 'rm -rf "$PARTS"' EXIT
tail -n +2 "$FILE" | split -l 1000 - "$PARTS/part."
for part in "$PARTS"/part.*; do
	awk -F', *' '
		function text(s) { gsub(/[\\"]/, "\\\\&", s); return "\"" s "\"" }
		BEGIN { printf "{\"leads\":[" }
		{
			sub(/\r$/, "")
			if ($3 == "") $3 = "unknown"
			printf "%s{\"external_id\":%s,\"source\":\"febrl\",\"first_name\":%s,\"last_name\":%s,\"custom_fields\":{\"state\":%s,\"postcode\":%s,\"born\":%s}}",
				(NR > 1 ? "," : ""), text($1), text($2), text($3), text($9), text($8), text($10)
		}
		END { print "]}" }' "$part" | post /api/leads/bulk | cut -c1-120
	echo
done
