#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "server/store.h"

namespace openp2p::server {

/// Runs work on one thread of its own, so that a slow disk never holds up datagrams.
///
/// The two threads share only the queue of jobs. The destructor finishes what is waiting: what was
/// asked for before an orderly end is on the disk after it.
class WorkerStore final : public Store {
 public:
  /// Jobs waiting at once. A join takes about a millisecond with a disk that synchronises as fast,
  /// so this is a second's work; beyond it clients are told to come again later.
  static constexpr std::size_t kJobsMax = 1'024;

  /// Runs a function on the owner's thread, later. Called from the worker thread; must not block.
  using Post = std::function<void(std::function<void()>)>;

  WorkerStore(std::unique_ptr<Records> records, Post post);
  ~WorkerStore() override;
  WorkerStore(const WorkerStore&) = delete;
  WorkerStore& operator=(const WorkerStore&) = delete;

 private:
  bool submit(Job job) override;
  void work();

  std::unique_ptr<Records> records_;
  Post post_;
  std::mutex mutex_;  // Guards the three below.
  std::condition_variable wake_;
  std::deque<Job> jobs_;
  bool is_stopping_ = false;
  std::thread thread_;
};

}  // namespace openp2p::server
