#!/bin/sh
# Asks a program the cases of this folder and says which of its answers differ.
set -eu

usage() {
  cat >&2 <<'USAGE'
usage: check.sh [-c CASES]... [-f FUNCTION,...]... COMMAND [ARGUMENT]...

COMMAND reads a request a line from stdin and writes a response a line to stdout.
  -c CASES         a file of cases; without it all that lie beside this script
  -f FUNCTION,...  only the cases of these functions; without it all that COMMAND answers {"function":"list"}
                   with, and all there are where it has no such list
Prints each case that differs, then "N cases, M differ". Exit status: 0 where none differs, 1 where one does or
COMMAND fails, 2 where nothing could be asked.
USAGE
  exit 2
}

fail() {
  printf 'check.sh: %s\n' "$1" >&2
  exit 2
}

folder=$(dirname "$0")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 2' HUP INT TERM

functions=
while getopts c:f: option; do
  case $option in
    c) cat -- "$OPTARG" >>"$scratch/given" || fail "cannot read the cases $OPTARG" ;;
    f) functions=$functions,$OPTARG ;;
    *) usage ;;
  esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || usage
command -v jq >/dev/null || fail 'jq is not there; it compares the numbers'
command -v "$1" >/dev/null || fail "there is no program $1"
[ -e "$scratch/given" ] || cat -- "$folder"/*.jsonl >"$scratch/given" || fail "cannot read the cases of $folder"

known=$(jq -r .request.function "$scratch/given" 2>"$scratch/trouble" | sort -u)
for function in $(printf %s "$functions" | tr , ' '); do
  printf '%s\n' "$known" | grep -qxF -e "$function" || fail "there is no case of $function"
done
jq -c --arg functions "$functions" '
  ($functions | split(",") - [""]) as $functions
  | select($functions == [] or (.request.function as $function | any($functions[]; . == $function)))
' "$scratch/given" >"$scratch/cases" || fail 'the cases are not one JSON object a line'
[ -s "$scratch/cases" ] || fail 'there are no cases'

status=0
{
  echo '{"function":"list"}'
  jq -c .request "$scratch/cases"
} | "$@" >"$scratch/responses" || status=$?

jq -n -r -R --slurpfile cases "$scratch/cases" --arg functions "$functions" '
  def short: tojson | if length > 80 then .[:80] + "..." else . end;

  def near($found; $wanted; $rtol; $atol):
    # Asked by itself: jq takes NaN for less than every number.
    ($found | isnan | not) and (($found - $wanted) | fabs) <= $atol + $rtol * ($wanted | fabs);

  # All that differs, as lines; an object may have more keys than are wanted.
  def differences($found; $wanted; $rtol; $atol):
    ($found | type) as $type
    | if $type != ($wanted | type) then ": \($found | short), wanted \($wanted | short)"
      elif $type == "object" then
        $wanted | keys[] as $key
        | if $found | has($key)
          then "." + $key + differences($found[$key]; $wanted[$key]; $rtol; $atol)
          else ".\($key): is missing" end
      elif $type == "array" then
        if ($found | length) != ($wanted | length)
        then ": \($found | length) entries, wanted \($wanted | length)"
        else
          range($wanted | length) as $i
          | "[\($i)]" + differences($found[$i]; $wanted[$i]; $rtol; $atol)
        end
      elif $type == "number" then
        if near($found; $wanted; $rtol; $atol) then empty
        else ": \($found | short), wanted \($wanted | short)" end
      elif $found == $wanted then empty
      else ": \($found | short), wanted \($wanted | short)" end;

  def refuses:
    type == "object" and (has("value") | not) and (.error | type) == "string"
    and .error != "" and (.error | contains("\n") | not);

  def difference($line; $case):
    if $line == null then "no response"
    else
      (try {response: ($line | fromjson)} catch {}) as $read
      | if $read == {} then "the response is not JSON: \($line | short)"
        elif $case.error then
          if $read.response | refuses then empty
          else "wanted an error of one line: \($read.response | short)" end
        elif $read.response | refuses then "refused: \($read.response.error)"
        else "response" + first(differences($read.response; $case.response; $case.rtol; $case.atol)) end
    end;

  [inputs] as $lines
  | ((try ($lines[0] | fromjson | .value | objects | keys) catch null) // null) as $listed
  | [range($cases | length)
     | select($functions != "" or $listed == null
              or ($cases[.].request.function as $function | any($listed[]; . == $function)))] as $asked
  | [$asked[] as $i
     | {case: $cases[$i], difference: difference($lines[$i + 1]; $cases[$i])}] as $wrong
  | ($wrong[] | "\(.case.id) (\(.case.request.function)): \(.difference)"),
    "\($asked | length) cases, \($wrong | length) differ"
' "$scratch/responses" >"$scratch/verdict"
cat "$scratch/verdict"

verdict=0
case $(tail -n 1 "$scratch/verdict") in
  '0 cases,'*) fail "the program lists no function that has a case" ;;
  *', 0 differ') ;;
  *) verdict=1 ;;
esac
requests=$(grep -c '' "$scratch/cases")
responses=$(grep -c '' "$scratch/responses" || true)
if [ "$responses" -ne $((requests + 1)) ]; then
  echo "the program has written $responses lines for $((requests + 1)) requests"
  verdict=1
fi
if [ "$status" -ne 0 ]; then
  echo "the program has ended with exit status $status"
  verdict=1
fi
exit "$verdict"
