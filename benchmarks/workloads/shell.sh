# shell.sh N: what shell scripts do in a loop: a pipe, a substitution, a file test, a redirection.
i=0
while [ "$i" -lt "$1" ]; do
  word=$(echo "$i" | tr 0-9 a-j)
  [ -e "/tmp/$word" ] || echo "$word" >/dev/null
  i=$((i + 1))
done
