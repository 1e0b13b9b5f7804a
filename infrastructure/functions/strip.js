// CloudFront, on the viewer's request of /static/* and /media/*: the keys of the buckets begin behind that.
function handler(event) {
  var request = event.request;
  request.uri = request.uri.replace(/^\/[^/]*/, '') || '/';
  return request;
}
