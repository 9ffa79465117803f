#include "net/name_resolver.h"

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/system/system_error.hpp>
#include <cstddef>
#include <utility>

#include "net/dial_error.h"

namespace openp2p::net {
namespace asio = boost::asio;

namespace {

using AsioResolver = asio::ip::basic_resolver<asio::ip::tcp, IoContext::executor_type>;

constexpr std::size_t kLookupsMax = 256;    // Waiting for the one thread that asks.
constexpr std::size_t kNameBytesMax = 253;  // RFC 1035 section 2.3.4, as text.

IpAddress to_ip(const asio::ip::address& address) {
  if (address.is_v4()) return IpAddress::v4(address.to_v4().to_uint());
  return IpAddress::v6(address.to_v6().to_bytes());
}

std::error_code to_error(const boost::system::error_code& error) {
  const bool is_unknown = error == asio::error::host_not_found || error == asio::error::no_data ||
                          error == asio::error::service_not_found;
  return is_unknown ? DialError::kNameNotFound : DialError::kNameLookupFailed;
}

// A name that no host can have is not worth a question, and may be an attack on the resolver.
bool may_be_a_name(const std::string& name) {
  return !name.empty() && name.size() <= kNameBytesMax &&
         std::ranges::all_of(name, [](char c) { return c > ' ' && c < 127; });
}

class SystemLookup final : public NameResolver::Lookup {
 public:
  struct State {
    State(IoContext& io, NameResolver::Callback call) : resolver(io), callback(std::move(call)) {}
    AsioResolver resolver;
    NameResolver::Callback callback;
    bool is_withdrawn = false;
  };
  explicit SystemLookup(std::shared_ptr<State> state) : state_(std::move(state)) {}
  ~SystemLookup() override {
    state_->is_withdrawn = true;
    state_->resolver.cancel();
  }

 private:
  std::shared_ptr<State> state_;  // Owned by this object and by the answer under way.
};

class SystemResolver final : public NameResolver {
 public:
  explicit SystemResolver(IoContext& io) : io_(io) {}

  std::unique_ptr<Lookup> look_up(const std::string& name, Callback callback) override {
    auto state = std::make_shared<SystemLookup::State>(io_, std::move(callback));
    if (!may_be_a_name(name)) {
      answer_later(state, DialError::kNameNotFound);
    } else if (*waiting_ >= kLookupsMax) {
      answer_later(state, DialError::kNameLookupFailed);
    } else {
      try {
        ask(state, name);
      } catch (const boost::system::system_error&) {  // No thread could be started.
        answer_later(state, DialError::kNameLookupFailed);
      }
    }
    return std::make_unique<SystemLookup>(std::move(state));
  }

 private:
  using StatePointer = std::shared_ptr<SystemLookup::State>;

  void answer_later(const StatePointer& state, DialError error) {
    asio::post(io_, [state, error] {
      if (!state->is_withdrawn) state->callback(make_error_code(error));
    });
  }

  void ask(const StatePointer& state, const std::string& name) {
    // The services argument is empty: ports are the dialer's matter.
    state->resolver.async_resolve(
        name, "",
        [state, waiting = waiting_](const boost::system::error_code& error,
                                    const AsioResolver::results_type& results) {
          --*waiting;
          if (state->is_withdrawn) return;
          if (error) return state->callback(to_error(error));
          std::vector<IpAddress> addresses;
          for (const auto& entry : results) {
            const IpAddress ip = to_ip(entry.endpoint().address());
            if (addresses.size() == kAddressesMax) break;
            if (std::ranges::find(addresses, ip) == addresses.end()) addresses.push_back(ip);
          }
          state->callback(std::move(addresses));
        });
    ++*waiting_;  // The answer never comes from inside the call.
  }

  IoContext& io_;
  // Owned by this object and by each answer under way, which may come later than its end.
  std::shared_ptr<std::size_t> waiting_ = std::make_shared<std::size_t>(0);
};

}  // namespace

std::unique_ptr<NameResolver> make_name_resolver(IoContext& io) {
  return std::make_unique<SystemResolver>(io);
}

}  // namespace openp2p::net
