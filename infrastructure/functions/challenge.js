// Lambda@Edge, on the API's response: a 401 gets the header back that API Gateway has renamed on its way.
'use strict';

exports.handler = async (event) => {
  const { response } = event.Records[0].cf;
  const renamed = response.headers['x-amzn-remapped-www-authenticate'];
  if (renamed) {
    delete response.headers['x-amzn-remapped-www-authenticate'];
    response.headers['www-authenticate'] = renamed.map(({ value }) => ({ key: 'WWW-Authenticate', value }));
  }
  return response;
};
