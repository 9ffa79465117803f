#pragma once

#include <cstddef>
#include <deque>
#include <utility>

#include "server/store.h"

namespace openp2p::server {

/// A store without a thread, for simulations and tests: work waits until the owner of the virtual
/// time runs it. The records belong to whoever made them, and survive a restart of the server.
class MemoryStore final : public Store {
 public:
  static constexpr std::size_t kJobsMax = 1'024;  ///< As WorkerStore's.

  explicit MemoryStore(Records& records) : records_(records) {}

  bool has_work() const { return !jobs_.empty(); }
  /// Runs the oldest job and gives its answer. False: there was none.
  bool run_one() {
    if (jobs_.empty()) return false;
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    job.work(records_);
    job.done();
    return true;
  }
  void run_all() {
    while (run_one()) {
    }
  }

 private:
  bool submit(Job job) override {
    if (jobs_.size() >= kJobsMax) return false;
    jobs_.push_back(std::move(job));
    return true;
  }

  Records& records_;
  std::deque<Job> jobs_;
};

}  // namespace openp2p::server
