# mixed.sh BIN ROUNDS PYTHON HERE: one of everything, ROUNDS times; what `import` is measured with.
round=0
while [ "$round" -lt "$2" ]; do
  "$1/storm" 40 /bin/true
  "$1/dense" 800
  "$1/tree" 4
  sh "$4/shell.sh" 15
  "$1/threads" 3 50
  "$3" "$4/http_requests.py" 40
  "$3" "$4/imports.py" 6
  round=$((round + 1))
done
