# ~/.profile: for login shells.
if [ -n "$BASH_VERSION" ] && [ -f "$HOME/.bashrc" ]; then . "$HOME/.bashrc"; fi
for directory in "$HOME/bin" "$HOME/.local/bin"; do
  if [ -d "$directory" ]; then PATH="$directory:$PATH"; fi
done
unset directory
