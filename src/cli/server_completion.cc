#include <string_view>

#include "cli/exit_code.h"
#include "cli/server_commands.h"
#include "cli/table.h"

namespace openp2p::cli {
namespace {

constexpr std::string_view kBash = R"sh(# bash completion for openp2p-server
_openp2p_server() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=''
  COMPREPLY=()
  case $prev in
    --data) compopt -o dirnames; return ;;
    --log-level) words='debug info warning error' ;;
    --expires) words='1h 24h 7d never' ;;
    --listen|--also-tcp|--stun-port|--public-address|--relay|--relay-allowance|--address|--user) return ;;
    *) case ${COMP_WORDS[1]}-${COMP_WORDS[2]} in
      run-*) words='--data --listen --also-tcp --stun-port --public-address --relay --relay-allowance --log-level --help' ;;
      user-add) words='--password-stdin --json --data --help' ;;
      user-list) words='--json --data --help' ;;
      token-new) words='--user --reusable --expires --address --json --data --help' ;;
      node-list|node-remove) words='--user --json --data --help' ;;
      *) case ${COMP_WORDS[1]} in
        user) words='add list' ;;
        token) words='new' ;;
        node) words='list remove' ;;
        completion) words='bash zsh fish' ;;
        *) words='run user token node completion --help --version' ;;
      esac ;;
    esac ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -F _openp2p_server openp2p-server
)sh";

constexpr std::string_view kZsh = R"sh(#compdef openp2p-server
autoload -U +X bashcompinit && bashcompinit
)sh";

constexpr std::string_view kFish = R"sh(# fish completion for openp2p-server
set -l none 'not __fish_seen_subcommand_from run user token node completion'
complete -c openp2p-server -f
complete -c openp2p-server -n $none -a 'run user token node completion'
complete -c openp2p-server -n '__fish_seen_subcommand_from user' -a 'add list'
complete -c openp2p-server -n '__fish_seen_subcommand_from token' -a new
complete -c openp2p-server -n '__fish_seen_subcommand_from node' -a 'list remove'
complete -c openp2p-server -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'
complete -c openp2p-server -n '__fish_seen_subcommand_from run' -l listen -x
complete -c openp2p-server -n '__fish_seen_subcommand_from run' -l also-tcp -x
complete -c openp2p-server -n '__fish_seen_subcommand_from run' -l stun-port -x
complete -c openp2p-server -n '__fish_seen_subcommand_from run' -l public-address -x
complete -c openp2p-server -n '__fish_seen_subcommand_from run' -l relay -x
complete -c openp2p-server -n '__fish_seen_subcommand_from run' -l relay-allowance -x
complete -c openp2p-server -n '__fish_seen_subcommand_from run' -l log-level -x -a 'debug info warning error'
complete -c openp2p-server -n '__fish_seen_subcommand_from add' -l password-stdin
complete -c openp2p-server -n '__fish_seen_subcommand_from new' -l user -x
complete -c openp2p-server -n '__fish_seen_subcommand_from new' -l reusable
complete -c openp2p-server -n '__fish_seen_subcommand_from new' -l expires -x -a '1h 24h 7d never'
complete -c openp2p-server -n '__fish_seen_subcommand_from new' -l address -x
complete -c openp2p-server -n '__fish_seen_subcommand_from node' -l user -x
complete -c openp2p-server -n '__fish_seen_subcommand_from user token node' -l json
complete -c openp2p-server -n '__fish_seen_subcommand_from run user token node' -l data -x -a '(__fish_complete_directories)'
)sh";

}  // namespace

int print_server_completion(const std::string& shell) {
  if (shell == "bash") {
    print(kBash);
  } else if (shell == "zsh") {
    print(kZsh);
    print(kBash);
  } else if (shell == "fish") {
    print(kFish);
  } else {
    print_server_error("completion: choose bash, zsh or fish");
    return kExitUsage;
  }
  return kExitDone;
}

}  // namespace openp2p::cli
